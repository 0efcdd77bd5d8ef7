//! Tasks: placed at most once, forgotten with their cell.

use model::ids::{CellId, TaskId};

use crate::Scheduler;
use crate::cells::Need;
use crate::state::{Task, TaskPlace};
use crate::types::DesiredTask;
use crate::work::{Turn, Want};

impl Scheduler {
    pub(crate) fn desire_task(&mut self, wish: DesiredTask) {
        if let Some(&key) = self.task_keys.get(&wish.task) {
            // A repetition, or what the task needs, after word of where it is.
            self.tasks[key].wish.get_or_insert(wish);
            self.book_task(key);
            return;
        }
        let want = self.task_want(&wish);
        let id = wish.task;
        let key = self.tasks.insert(Task {
            id,
            wish: Some(wish),
            place: TaskPlace::Waits { group: 0 },
        });
        let group = self.work.add(want, Turn::of_task(key, id.as_uuid()));
        self.tasks[key].place = TaskPlace::Waits { group };
        self.task_keys.insert(id, key);
    }

    fn task_want(&mut self, wish: &DesiredTask) -> Want {
        let stack = wish
            .stack
            .as_ref()
            .map(|stack| self.cells.intern_stack(stack));
        Want {
            stack,
            need: Need::from(wish.limits),
        }
    }

    pub(crate) fn task_placed(&mut self, id: TaskId, name: CellId) {
        let cell = self.cells.intern(name);
        let place = TaskPlace::On {
            cell,
            name,
            booked: None,
        };
        let key = match self.task_keys.get(&id) {
            Some(&key) => {
                let TaskPlace::Waits { group } = self.tasks[key].place else {
                    return;
                };
                self.work.remove(group, &Turn::of_task(key, id.as_uuid()));
                self.tasks[key].place = place;
                key
            }
            None => {
                let key = self.tasks.insert(Task {
                    id,
                    wish: None,
                    place,
                });
                self.task_keys.insert(id, key);
                key
            }
        };
        self.cells.get_mut(cell).tasks.insert(key);
        self.book_task(key);
    }

    /// Books a placed task's room as soon as both its size and its cell are known.
    pub(crate) fn book_task(&mut self, key: u32) {
        let task = &mut self.tasks[key];
        if let (
            Some(wish),
            TaskPlace::On {
                cell,
                booked: booked @ None,
                ..
            },
        ) = (&task.wish, &mut task.place)
            && self.cells.get(*cell).up
        {
            let need = Need::from(wish.limits);
            *booked = Some(need);
            self.cells.book(*cell, need);
        }
    }

    pub(crate) fn forget_task(&mut self, id: TaskId) {
        let Some(key) = self.task_keys.remove(&id) else {
            return;
        };
        match self.tasks.remove(key).place {
            TaskPlace::Waits { group } => {
                self.work.remove(group, &Turn::of_task(key, id.as_uuid()))
            }
            TaskPlace::On { cell, booked, .. } => {
                self.cells.get_mut(cell).tasks.remove(&key);
                if let Some(need) = booked {
                    self.cells.free(cell, need);
                    self.offer(cell);
                }
            }
        }
    }
}
