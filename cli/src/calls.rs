//! Calls that many commands make: look-ups by name, lists, jobs.

use std::time::{Duration, Instant};

use api_types::{
    App, CurrentDroplet, Domain, Job, JobState, Page, Process, Route, ServiceInstance, ToOne,
};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::client::{Answer, Call, Client, Query};
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};

/// More pages than any list of one space has.
const MAX_PAGES: usize = 10_000;
const FIRST_JOB_PAUSE: Duration = Duration::from_millis(100);
const LAST_JOB_PAUSE: Duration = Duration::from_secs(2);
const JOB_LIMIT: Duration = Duration::from_secs(1800);

impl Client {
    /// All entries of a list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(&self, query: Query) -> Outcome<Vec<T>> {
        let mut path = query.build();
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = self.get(&path).await?;
            all.extend(page.resources);
            match page.pagination.next {
                Some(next) if !next.href.is_empty() => path = next.href,
                _ => return Ok(all),
            }
        }
        Err(CliError::other(format!("the list at {path} does not end")))
    }

    pub(crate) async fn first<T: DeserializeOwned>(&self, query: Query) -> Outcome<Option<T>> {
        let page: Page<T> = self.get(&query.build()).await?;
        Ok(page.resources.into_iter().next())
    }

    pub(crate) async fn find_domain(&self, name: &str) -> Outcome<Domain> {
        let found = self
            .first(Query::of("/v3/domains").name("names", name).one())
            .await?;
        found.ok_or_else(|| {
            CliError::not_found(format!("there is no domain '{name}'")).hint("slipway domains")
        })
    }

    /// Waits for the job that an answer names, if it names one.
    pub(crate) async fn finish(&self, answer: &Answer) -> Outcome<()> {
        let Some(location) = answer.location() else {
            return Ok(());
        };
        let path = self.at(location);
        let started = Instant::now();
        let mut pause = FIRST_JOB_PAUSE;
        loop {
            let job: Job = self.send(Call::new(Method::GET, &path)).await?.read()?;
            match job.state {
                JobState::Complete => {
                    self.print_job_warnings(&job);
                    return Ok(());
                }
                JobState::Failed => {
                    self.print_job_warnings(&job);
                    return Err(job_failure(&job));
                }
                JobState::Processing | JobState::Polling if started.elapsed() > JOB_LIMIT => {
                    let message = format!(
                        "the job {} has not ended in {} min",
                        job.guid,
                        JOB_LIMIT.as_secs() / 60
                    );
                    return Err(CliError::new("E-TIMEOUT", Exit::TryAgain, message));
                }
                JobState::Processing | JobState::Polling => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LAST_JOB_PAUSE);
        }
    }
}

const NO_ROOM: (&str, Exit) = ("E-CAPACITY", Exit::Quota);

fn speaks_of_a_taken_route(detail: &str) -> bool {
    let taken = ["already exists", "reserved", "in use"];
    detail.contains("the platform's own address")
        || detail.contains("route") && taken.iter().any(|words| detail.contains(words))
}

fn job_failure(job: &Job) -> CliError {
    let (code, exit) = match job.operation.as_str() {
        "space.apply_manifest" => ("E-MANIFEST", Exit::Usage),
        _ => ("E-FAILED", Exit::Other),
    };
    let Some(first) = job.errors.first() else {
        return CliError::new(code, exit, "the job failed and the server gave no reason");
    };
    let (code, exit) = match first.detail.to_ascii_lowercase() {
        _ if first.title == api_types::details::title::INSUFFICIENT_RESOURCES => NO_ROOM,
        detail if detail.contains("fits no cell") => NO_ROOM,
        detail if detail.contains("quota") || detail.contains("insufficient") => {
            ("E-QUOTA", Exit::Quota)
        }
        detail if speaks_of_a_taken_route(&detail) => ("E-ROUTE", Exit::Conflict),
        _ => (code, exit),
    };
    let error = CliError::from_text(&first.detail, code, exit);
    error.lines(job.errors.iter().skip(1).map(|other| other.detail.clone()))
}

impl Context {
    pub(crate) async fn app_if_any(&self, name: &str) -> Outcome<Option<App>> {
        let query = Query::of("/v3/apps")
            .name("names", name)
            .with("space_guids", self.space_guid().await?);
        self.client.first(query).await
    }

    /// An app of the targeted space by name.
    pub(crate) async fn app(&self, name: &str) -> Outcome<App> {
        match self.app_if_any(name).await? {
            Some(app) => Ok(app),
            None => Err(self.no_such_app(name).await),
        }
    }

    async fn no_such_app(&self, name: &str) -> CliError {
        let space = self
            .target()
            .await
            .map(|target| target.space.name.clone())
            .unwrap_or_default();
        let error = CliError::not_found(format!("there is no app '{name}' in space '{space}'"));
        let others = match self.space_guid().await {
            Ok(space) => self
                .client
                .list::<App>(Query::of("/v3/apps").with("space_guids", space))
                .await
                .unwrap_or_default(),
            Err(_) => vec![],
        };
        match model::manifest::nearest(name, others.iter().map(|app| app.name.as_str())) {
            Some(near) => error
                .hint(format!("did you mean '{near}'?"))
                .hint("slipway apps"),
            None => error.hint("slipway apps"),
        }
    }

    pub(crate) async fn service_instance_if_any(
        &self,
        name: &str,
    ) -> Outcome<Option<ServiceInstance>> {
        let query = Query::of("/v3/service_instances").name("names", name).one();
        self.client
            .first(query.with("space_guids", self.space_guid().await?))
            .await
    }

    pub(crate) async fn service_instance(&self, name: &str) -> Outcome<ServiceInstance> {
        self.service_instance_if_any(name).await?.ok_or_else(|| {
            CliError::not_found(format!(
                "there is no service instance '{name}' in this space"
            ))
            .hint("slipway services")
        })
    }

    /// `start`, `stop` or `restart`.
    pub(crate) async fn act(&self, app: &App, action: &str) -> Outcome {
        let path = format!("/v3/apps/{}/actions/{action}", app.guid);
        let _: App = self.client.post(&path, &json!({})).await?;
        Ok(())
    }

    pub(crate) async fn use_droplet(&self, app: &App, droplet: &str) -> Outcome {
        let path = format!("/v3/apps/{}/relationships/current_droplet", app.guid);
        let _: CurrentDroplet = self.client.patch(&path, &ToOne::to(droplet)).await?;
        Ok(())
    }

    pub(crate) async fn processes(&self, app: &str) -> Outcome<Vec<Process>> {
        self.client
            .list(Query::of(format!("/v3/apps/{app}/processes")))
            .await
    }

    pub(crate) async fn app_routes(&self, app: &str) -> Outcome<Vec<Route>> {
        self.client
            .list(Query::of(format!("/v3/apps/{app}/routes")))
            .await
    }

    pub(crate) fn route_url(&self, route: &Route) -> String {
        crate::client::of_route(self.client.api(), &route.url)
    }
}
