//! Jobs.

use api_control::records;
use api_types::{ErrorEntry, Job, JobState, JobWarning};

use super::time;
use crate::urls::Urls;

pub(crate) fn job(urls: &Urls, job: records::Job) -> Job {
    let (state, errors) = match job.state {
        records::JobState::Processing => (JobState::Processing, Vec::new()),
        records::JobState::Complete => (JobState::Complete, Vec::new()),
        records::JobState::Failed { errors } => (JobState::Failed, errors),
    };
    let mut errors = errors
        .into_iter()
        .map(|error| ErrorEntry {
            code: error.code,
            title: error.title,
            detail: error.detail,
        })
        .collect::<Vec<_>>();
    if state == JobState::Failed && errors.is_empty() {
        // Clients read the first error of a failed job without looking whether there is one.
        errors.push(ErrorEntry {
            code: 10001,
            title: "UnknownError".into(),
            detail: "An unknown error occurred.".into(),
        });
    }
    Job {
        guid: job.id.to_string(),
        created_at: time(job.created_us),
        updated_at: Some(time(job.updated_us)),
        operation: job.operation,
        state,
        errors,
        warnings: job
            .warnings
            .into_iter()
            .map(|detail| JobWarning { detail })
            .collect(),
        links: urls.links([("self", format!("/v3/jobs/{}", job.id))]),
    }
}
