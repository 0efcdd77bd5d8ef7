//! Builds: from a package to a droplet.

use model::ids::{AppId, BuildId, PackageId, TaskId};
use model::limits::{Limits, Megabytes};
use model::secret::Env;
use scheduler::DesiredTask;
use serde_json::json;
use store::Store;
use store::records::{Build, BuildState, EnvironmentGroup, PackageState, Page, PageRequest};

use crate::error::OrNotFound;
use crate::settings::Settings;
use crate::{Actor, Control, Error, Result, env};

/// The built-in buildpacks in the order of detection.
pub(crate) const BUILDPACKS: &[&str] = &["java", "procfile"];

/// What a build may be asked beyond its package.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Instead of the app's own; empty means detection.
    pub buildpacks: Option<Vec<String>>,
    pub memory: Option<Megabytes>,
    pub disk: Option<Megabytes>,
}

/// Cloud Foundry's are 1,024 and 4,096 MB; a Maven build needs the same and a compiler some more.
const STAGING_MEMORY: Megabytes = Megabytes(1024);
/// Maven and a compiler do not build even a small app with less. Where it is not free now, the build waits for it.
const LEAST_STAGING_MEMORY: Megabytes = Megabytes(256);
const STAGING_DISK: Megabytes = Megabytes(4096);

impl Control {
    pub async fn create_build(
        &self,
        actor: &Actor,
        package: PackageId,
        request: BuildRequest,
    ) -> Result<Build> {
        let package = self.package(actor, package).await?;
        let PackageState::Ready { size, .. } = package.state else {
            return Err(Error::BadRequest(
                "Bad request: Cannot stage package whose state is not ready.".into(),
            ));
        };
        let app = self.app(actor, package.app).await?;
        let buildpacks = request.buildpacks.unwrap_or_else(|| app.buildpacks.clone());
        check_buildpacks(&buildpacks)?;
        let memory = match request.memory {
            Some(memory) => memory.max(Megabytes(64)),
            None => build_memory(self.fleet().largest_free_memory()),
        };
        let disk = request.disk.unwrap_or(STAGING_DISK);
        self.check_fits_some_cell(memory)?;
        self.check_room("this build", self.build_bytes(app.id, size).await?)
            .await?;
        let now = store::now_us();
        let build = Build {
            id: BuildId::random(),
            app: app.id,
            package: package.id,
            state: BuildState::Staging,
            buildpacks,
            task: TaskId::random(),
            limits: Limits {
                memory,
                disk,
                pids: Limits::DEFAULT.pids,
            },
            placed: None,
            created_by: actor.name.clone(),
            created_us: now,
            updated_us: now,
        };
        self.store().insert_build(&build).await?;
        self.fleet().add_task(DesiredTask {
            task: build.task,
            limits: build.limits,
            stack: None,
        });
        let data = json!({ "build_guid": build.id, "package_guid": package.id });
        self.audit_app(actor, "audit.app.build.create", &app, data)
            .await;
        Ok(build)
    }

    /// What a build of a package of `size` bytes may add to the disk: the droplet that the app has, once more, or of a first
    /// one its source unpacked and packed again.
    async fn build_bytes(&self, app: AppId, size: u64) -> Result<u64> {
        const LEAST: u64 = 16 * 1024 * 1024;
        let droplet = self.store().droplet_bytes(app).await?;
        Ok(size.saturating_mul(3).max(droplet).max(LEAST))
    }

    pub async fn build(&self, _: &Actor, id: BuildId) -> Result<Build> {
        self.store().find_build(id).await.or_not_found("Build")
    }

    /// Newest first.
    pub async fn list_builds(
        &self,
        _: &Actor,
        apps: &[AppId],
        packages: &[PackageId],
        page: PageRequest,
    ) -> Result<Page<Build>> {
        Ok(self.store().list_builds(apps, packages, page).await?)
    }

    /// Names that a build may ask for, in the order of detection.
    #[must_use]
    pub const fn buildpacks(&self) -> &'static [&'static str] {
        BUILDPACKS
    }
}

/// What a build gets that asks for nothing: the usual, or what the roomiest cell has left, as long as that can be enough.
fn build_memory(largest_free: Option<Megabytes>) -> Megabytes {
    largest_free.map_or(STAGING_MEMORY, |free| {
        free.clamp(LEAST_STAGING_MEMORY, STAGING_MEMORY)
    })
}

/// Accepts Cloud Foundry's names of the same buildpacks too: `java_buildpack`.
pub(crate) fn check_buildpacks(names: &[String]) -> Result<()> {
    for name in names {
        let own = name.strip_suffix("_buildpack").unwrap_or(name);
        if !BUILDPACKS.contains(&own) {
            return Err(Error::Unprocessable(format!(
                "Buildpack must be an existing admin buildpack or a valid git URI: '{name}' is unknown, there are {}",
                BUILDPACKS.join(", ")
            )));
        }
    }
    Ok(())
}

/// What a build finds in its environment: the app's own variables and bindings, as at run time.
pub(crate) async fn staging_env(
    store: &Store,
    settings: &Settings,
    build: &Build,
) -> store::Result<Env> {
    let Some(app) = store.find_app(build.app).await? else {
        return Ok(Env::new());
    };
    let processes = store
        .list_processes(&[], &[app.id], &[], PageRequest::ALL)
        .await?
        .items;
    let Some(web) = processes.into_iter().next() else {
        return Ok(app.env);
    };
    let surroundings = env::surroundings(store, settings, &app, EnvironmentGroup::Staging).await?;
    let mut env = env::running_env(&surroundings, &app, &web);
    env.set("MEMORY_LIMIT", format!("{}m", build.limits.memory.0));
    env.set("CF_STACK", "host");
    Ok(env)
}
