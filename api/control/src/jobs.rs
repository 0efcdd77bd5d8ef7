//! Jobs.

use model::ids::JobId;
use store::records::Job;

use crate::error::OrNotFound;
use crate::{Actor, Control, Result};

impl Control {
    pub async fn job(&self, _: &Actor, id: JobId) -> Result<Job> {
        self.store().find_job(id).await.or_not_found("Job")
    }
}
