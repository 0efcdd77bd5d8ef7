//! Dense storage: things are named by small numbers, and numbers of removed things are used again.

use std::ops::{Index, IndexMut};

#[derive(Debug)]
pub(crate) struct Arena<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Arena<T> {
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(key) = self.free.pop() {
            self.items[key as usize] = Some(item);
            return key;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len() - 1).expect("fewer than 2^32 things are alive at once")
    }

    pub(crate) fn remove(&mut self, key: u32) -> T {
        let item = self.items[key as usize]
            .take()
            .expect("a key is removed once");
        self.free.push(key);
        item
    }

    /// The keys of all things that are there now.
    pub(crate) fn keys(&self) -> Vec<u32> {
        (0..)
            .zip(&self.items)
            .filter_map(|(key, item)| item.as_ref().map(|_| key))
            .collect()
    }

    /// In the order of the keys, which depends on history: callers sort.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, key: u32) -> &T {
        self.items[key as usize]
            .as_ref()
            .expect("a key names a living thing")
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, key: u32) -> &mut T {
        self.items[key as usize]
            .as_mut()
            .expect("a key names a living thing")
    }
}
