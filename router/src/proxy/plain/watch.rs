//! One timer for all the waits of a connection. Moving a deadline on costs nothing; the timer looks again when it rings.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

#[derive(Debug)]
pub(super) struct Watch {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Watch {
    pub(super) fn new(first: Duration) -> Self {
        let deadline = Instant::now() + first;
        Self {
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
            deadline,
        }
    }

    pub(super) fn arm(&mut self, after: Duration) {
        self.deadline = Instant::now() + after;
        if self.sleep.deadline() > self.deadline {
            self.sleep.as_mut().reset(self.deadline);
        }
    }

    /// Ready when the deadline is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.deadline);
        }
    }
}
