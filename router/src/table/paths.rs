//! The routes of one host, by path.

use std::sync::Arc;

use super::Route;

/// Sorted by path. Most hosts have one route with an empty path.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    routes: Vec<(Box<str>, Arc<Route>)>,
    /// Length of the longest path, so that long request paths cost no more than long routes.
    longest: usize,
}

impl Paths {
    /// The route whose path is the longest prefix of `path` in whole segments; letter case counts.
    pub(crate) fn longest_match(&self, path: &str) -> Option<&Arc<Route>> {
        let path = path.as_bytes();
        let mut end = path.len();
        if end > self.longest {
            end = if path[self.longest] == b'/' {
                self.longest
            } else {
                last_slash(&path[..self.longest])
            };
        }
        loop {
            let prefix = &path[..end];
            if let Ok(found) = self
                .routes
                .binary_search_by(|(route, _)| route.as_bytes().cmp(prefix))
            {
                return Some(&self.routes[found].1);
            }
            if end == 0 {
                return None;
            }
            end = last_slash(prefix);
        }
    }

    /// In the place of a route with the same path, if there is one.
    pub(crate) fn insert(&mut self, path: String, route: Arc<Route>) {
        match self
            .routes
            .binary_search_by(|(known, _)| (**known).cmp(&path))
        {
            Ok(found) => self.routes[found].1 = route,
            Err(place) => {
                self.longest = self.longest.max(path.len());
                self.routes.insert(place, (path.into(), route));
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Route>> {
        let found = self
            .routes
            .binary_search_by(|(known, _)| (**known).cmp(path))
            .ok()?;
        Some(&self.routes[found].1)
    }

    pub(crate) fn remove(&mut self, path: &str) -> Option<Arc<Route>> {
        let found = self
            .routes
            .binary_search_by(|(known, _)| (**known).cmp(path))
            .ok()?;
        let (_, route) = self.routes.remove(found);
        self.longest = self
            .routes
            .iter()
            .map(|(path, _)| path.len())
            .max()
            .unwrap_or(0);
        Some(route)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().map(|(_, route)| route)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

fn last_slash(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}
