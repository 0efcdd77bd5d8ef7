//! One-off tasks: a command of an app that runs once, beside its instances and with what they have.

use std::collections::BTreeMap;

use model::ids::{AppId, DropletId, ProcessId, TaskId};
use model::limits::{Limits, Megabytes};
use model::secret::Secret;
use serde_json::json;
use store::records::{App, Droplet, Metadata, Page, PageRequest, Process, Task, TaskPlan};
use store::{NewTask, TaskFilter};

use crate::apps::{check_name, patch};
use crate::error::OrNotFound;
use crate::failures::CANCELLED;
use crate::fleet::desired_task;
use crate::processes::{check_command, check_scale};
use crate::{Actor, Control, Error, Result, Scale, env};

/// Finished tasks of one app that are kept; older ones go as newer ones end.
pub(crate) const KEPT_TASKS: u32 = 200;
/// Tasks of one app that have not ended yet.
const MAX_OPEN_TASKS: u32 = 500;

/// A task as somebody asks for it.
#[derive(Debug, Clone, Default)]
pub struct TaskRequest {
    /// Instead of the template's.
    pub command: Option<Secret>,
    /// A process of the app whose command and sizes the task takes.
    pub template: Option<ProcessId>,
    /// Without one, the task's own id gives it a name.
    pub name: Option<String>,
    pub memory: Option<Megabytes>,
    pub disk: Option<Megabytes>,
    /// Instead of the app's current droplet.
    pub droplet: Option<DropletId>,
    pub metadata: Metadata,
}

impl Control {
    /// Takes a task on. It runs with the app's present variables and bindings as soon as a cell has room; it needs no
    /// instance of the app.
    pub async fn create_task(
        &self,
        actor: &Actor,
        app: AppId,
        request: TaskRequest,
    ) -> Result<Task> {
        let app = self.app(actor, app).await?;
        let droplet = self.droplet_for_task(&app, request.droplet).await?;
        let template = match request.template {
            Some(id) => Some(self.process_of(&app, id).await?),
            None => None,
        };
        let command = command(&request, template.as_ref(), &droplet)?;
        let id = TaskId::random();
        let name = match request.name {
            Some(name) => name,
            None => id.to_string().chars().take(8).collect(),
        };
        check_name(&name)?;
        let size = |asked: Option<Megabytes>, of_template: Option<Megabytes>, default| {
            asked.or(of_template).unwrap_or(default)
        };
        let of = template.as_ref();
        let limits = Limits {
            memory: size(
                request.memory,
                of.map(|of| of.memory),
                Limits::DEFAULT.memory,
            ),
            disk: size(request.disk, of.map(|of| of.disk), Limits::DEFAULT.disk),
            pids: Limits::DEFAULT.pids,
        };
        check_scale(Scale {
            instances: None,
            memory: Some(limits.memory),
            disk: Some(limits.disk),
            log_rate: None,
        })?;
        self.check_fits_some_cell(limits.memory)?;
        let new = NewTask {
            id,
            app: app.id,
            name,
            command,
            droplet: droplet.id,
            stack: droplet.image.stack.clone(),
            limits,
            metadata: request.metadata,
            plan: self
                .task_plan(actor, &app, template, &droplet, limits)
                .await?,
            created_by: actor.name.clone(),
        };
        let task = self.store().insert_task(&new, MAX_OPEN_TASKS).await?;
        let task = task.ok_or_else(|| {
            Error::Unprocessable(format!(
                "the app has {MAX_OPEN_TASKS} tasks that have not ended; wait for some, or terminate them"
            ))
        })?;
        self.fleet().add_task(desired_task(&task));
        self.audit_task(actor, "audit.app.task.create", &app, &task)
            .await;
        Ok(task)
    }

    pub async fn task(&self, _: &Actor, id: TaskId) -> Result<Task> {
        self.store().find_task(id).await.or_not_found("Task")
    }

    pub async fn list_tasks(
        &self,
        _: &Actor,
        filter: &TaskFilter,
        page: PageRequest,
    ) -> Result<Page<Task>> {
        Ok(self.store().list_tasks(filter, page).await?)
    }

    /// Sets labels and annotations by name; an absent value removes the name.
    pub async fn label_task(
        &self,
        actor: &Actor,
        id: TaskId,
        labels: BTreeMap<String, Option<String>>,
        annotations: BTreeMap<String, Option<String>>,
    ) -> Result<Task> {
        let mut metadata = self.task(actor, id).await?.metadata;
        patch(&mut metadata.labels, labels);
        patch(&mut metadata.annotations, annotations);
        self.store()
            .update_task_metadata(id, &metadata)
            .await
            .or_not_found("Task")
    }

    /// Ends a task: at once where no cell has it, else its command gets SIGTERM, and SIGKILL after 10 s. Asking twice is fine.
    pub async fn cancel_task(&self, actor: &Actor, id: TaskId) -> Result<Task> {
        let known = self.task(actor, id).await?;
        let task = match self.store().cancel_task(id, CANCELLED, KEPT_TASKS).await {
            Ok(task) => task,
            Err(store::Error::Missing) => {
                let now = self.task(actor, id).await?;
                return Err(Error::Unprocessable(format!(
                    "Task state is {} and therefore cannot be canceled",
                    now.state.name()
                )));
            }
            Err(other) => return Err(other.into()),
        };
        match task.placed {
            Some(placed) => self.fleet().ask_task_to_end(id, placed.cell),
            None => self.fleet().cancel_task(id),
        }
        let app = self.app(actor, known.app).await?;
        self.audit_task(actor, "audit.app.task.cancel", &app, &task)
            .await;
        Ok(task)
    }

    async fn droplet_for_task(&self, app: &App, asked: Option<DropletId>) -> Result<Droplet> {
        let found = match asked {
            Some(id) => self.store().find_droplet(id).await?,
            None => self.droplet_of(app).await?,
        };
        found
            .filter(|droplet| droplet.app == app.id)
            .ok_or_else(|| {
                Error::unprocessable(
                    "Task must have a droplet. Specify droplet or assign current droplet to app.",
                )
            })
    }

    async fn process_of(&self, app: &App, id: ProcessId) -> Result<Process> {
        let found = self.store().find_process(id).await?;
        found
            .filter(|process| process.app == app.id)
            .ok_or(Error::NotFound { what: "Process" })
    }

    /// What the task finds is what an instance of its template finds, or one of `web`, in the task's own size.
    async fn task_plan(
        &self,
        actor: &Actor,
        app: &App,
        template: Option<Process>,
        droplet: &Droplet,
        limits: Limits,
    ) -> Result<TaskPlan> {
        let mut process = match template {
            Some(process) => process,
            None => self.app_process(actor, app.id, "web").await?,
        };
        (process.memory, process.disk) = (limits.memory, limits.disk);
        let surroundings = self.surroundings(app).await?;
        let mut env = env::running_env(&surroundings, app, &process);
        env.set_default("CF_STACK", droplet.image.stack.0.clone());
        Ok(TaskPlan {
            app_name: app.name.clone(),
            layers: droplet.image.layers.clone(),
            env,
        })
    }

    /// The command is left out: people write secrets into it.
    async fn audit_task(&self, actor: &Actor, event_type: &str, app: &App, task: &Task) {
        let data = json!({
            "task_guid": task.id,
            "request": { "name": task.name, "memory_in_mb": task.limits.memory.0, "command": "[PRIVATE DATA HIDDEN]" },
        });
        self.audit_app(actor, event_type, app, data).await;
    }
}

fn command(request: &TaskRequest, template: Option<&Process>, droplet: &Droplet) -> Result<Secret> {
    let command = match (&request.command, template) {
        (Some(command), _) => command.clone(),
        (None, Some(process)) => Control::effective_command(process, Some(droplet))
            .map(Secret::new)
            .ok_or_else(|| {
                Error::Unprocessable(format!(
                    "process '{}' has no command; give the task one",
                    process.process_type
                ))
            })?,
        (None, None) => {
            return Err(Error::unprocessable(
                "Command can't be blank: give a command, or the process whose command to run as template.process.guid",
            ));
        }
    };
    check_command(command.expose())?;
    Ok(command)
}
