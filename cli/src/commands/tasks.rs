//! One-off tasks: run a command of an app once, look at it, end it.

use api_types::{App, CreateTask, Process, Ref, Task, TaskState, TaskTemplate};
use http::Method;
use model::limits::Megabytes;
use model::secret::Secret;
use serde_json::json;

use super::done;
use crate::client::{Call, Query};
use crate::context::Context;
use crate::error::{CliError, Outcome};
use crate::task::{self, Follower};
use crate::ui::Table;

/// Run a command of an app once, beside its instances
///
/// The command runs in a container of its own, with the app's droplet, variables and bindings, whether the app is started or
/// not. It is run at most once.
#[derive(Debug, clap::Args)]
pub(crate) struct RunTask {
    pub(crate) app: String,
    /// Command to run [default: that of the process 'task']
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub(crate) command: Option<String>,
    /// Take command, memory and disk from the process of this type where no flag says otherwise
    #[arg(long, value_name = "TYPE")]
    pub(crate) process: Option<String>,
    /// Name of the task, for its log lines [default: made up]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Memory, such as 256M
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<Megabytes>,
    /// Disk, such as 1G
    #[arg(short = 'k', long, value_name = "SIZE")]
    pub(crate) disk: Option<Megabytes>,
    /// Show what it prints, wait for its end, and end with its exit status
    #[arg(short, long)]
    pub(crate) wait: bool,
}

/// Show the tasks of an app, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Tasks {
    pub(crate) app: String,
}

/// Show one task of an app
#[derive(Debug, clap::Args)]
pub(crate) struct TaskCommand {
    pub(crate) app: String,
    /// The task's number, as in 'slipway tasks'
    pub(crate) id: u32,
}

/// End a task: SIGTERM, and SIGKILL after 10 s
#[derive(Debug, clap::Args)]
pub(crate) struct TerminateTask {
    pub(crate) app: String,
    /// The task's number, as in 'slipway tasks'
    pub(crate) id: u32,
}

impl RunTask {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let request = self.request(cx, &app).await?;
        let path = format!("/v3/apps/{}/tasks", app.guid);
        if self.wait {
            cx.ui.begin_stream();
            // Where the logs stand before the task can say anything.
            let follower = Follower::begin(cx, &app).await?;
            let task: Task = cx.client.post(&path, &request).await?;
            return follower.follow(&task).await;
        }
        let task: Task = cx.client.post(&path, &request).await?;
        let (name, id) = (&app.name, task.sequence_id);
        cx.ui.step(
            "try",
            format!("slipway task {name} {id}  |  slipway logs {name} --recent"),
        );
        cx.ui.answer(
            || json!(task),
            |ui| ui.data(format!("task {id} {} of {name} was taken on", task.name)),
        )
    }

    async fn request(&self, cx: &Context, app: &App) -> Outcome<CreateTask> {
        // As in `cf`: without a command it is the process `task` that says what to run.
        let process = match (&self.command, &self.process) {
            (_, Some(process)) => Some(process.as_str()),
            (None, None) => Some("task"),
            (Some(_), None) => None,
        };
        let template = match process {
            None => None,
            Some(kind) => {
                let processes: Vec<Process> = cx.processes(&app.guid).await?;
                let found = processes.into_iter().find(|process| process.kind == kind);
                let found = found.ok_or_else(|| self.no_process(app, kind))?;
                Some(TaskTemplate {
                    process: Ref::new(found.guid),
                })
            }
        };
        Ok(CreateTask {
            command: self.command.clone().map(Secret::new),
            name: self.name.clone(),
            memory_in_mb: self.memory.map(|memory| memory.0),
            disk_in_mb: self.disk.map(|disk| disk.0),
            template,
            ..CreateTask::default()
        })
    }

    fn no_process(&self, app: &App, kind: &str) -> CliError {
        let name = &app.name;
        match self.process {
            Some(_) => CliError::not_found(format!("{name} has no process '{kind}'"))
                .hint(format!("slipway app {name}")),
            None => CliError::usage(format!(
                "what shall run? {name} has no process 'task' that says it"
            ))
            .hint(format!("slipway run-task {name} -c 'COMMAND'")),
        }
    }
}

impl Tasks {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let query = Query::of(format!("/v3/apps/{}/tasks", app.guid))
            .with("order_by", "-created_at")
            .with("per_page", "5000");
        let tasks: Vec<Task> = cx.client.list(query).await?;
        cx.ui.answer(
            || tasks.iter().map(|task| json!(task)).collect(),
            |ui| {
                if tasks.is_empty() {
                    ui.say(format!("{} has no tasks yet", app.name));
                    return Ok(());
                }
                let mut table = Table::new(&["id", "name", "state", "created", "command"]);
                for task in &tasks {
                    table.row([
                        task.sequence_id.to_string(),
                        task.name.clone(),
                        task.state.name().to_owned(),
                        task.created_at.clone(),
                        command(task).to_owned(),
                    ]);
                }
                ui.data(table.render())
            },
        )
    }
}

impl TaskCommand {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let task = find(cx, &app, self.id).await?;
        cx.ui.answer(
            || json!(task),
            |ui| {
                let ended = matches!(task.state, TaskState::Succeeded | TaskState::Failed);
                let changed = task.updated_at.as_deref().unwrap_or_default();
                ui.data(format!("id:        {}", task.sequence_id))?;
                ui.data(format!("name:      {}", task.name))?;
                ui.data(format!("state:     {}", task.state.name()))?;
                if let Some(reason) = &task.result.failure_reason {
                    ui.data(format!("reason:    {reason}"))?;
                }
                ui.data(format!("command:   {}", command(&task)))?;
                ui.data(format!("memory:    {}", Megabytes(task.memory_in_mb)))?;
                ui.data(format!("disk:      {}", Megabytes(task.disk_in_mb)))?;
                ui.data(format!("created:   {}", task.created_at))?;
                if ended {
                    ui.data(format!("ended:     {changed}"))?;
                }
                Ok(())
            },
        )
    }
}

impl TerminateTask {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let task = find(cx, &app, self.id).await?;
        let path = format!("/v3/tasks/{}/actions/cancel", task.guid);
        let call = Call::new(Method::POST, cx.client.at(&path)).json(&json!({}));
        let task: Task = cx.client.send(call).await?.read()?;
        let said = match task.state {
            TaskState::Failed => format!("task {} is ended; it had not begun", self.id),
            _ => format!("task {} is being ended", self.id),
        };
        done(cx, json!(task), said)
    }
}

async fn find(cx: &Context, app: &App, id: u32) -> Outcome<Task> {
    let query = Query::of(format!("/v3/apps/{}/tasks", app.guid))
        .with("sequence_ids", id.to_string())
        .one();
    cx.client.first(query).await?.ok_or_else(|| {
        CliError::not_found(format!("{} has no task {id}", app.name))
            .evidence("kept", task::KEPT)
            .hint(format!("slipway tasks {}", app.name))
    })
}

fn command(task: &Task) -> &str {
    task.command
        .as_ref()
        .map_or("[hidden]", |command| command.expose())
}
