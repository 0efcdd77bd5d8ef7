use model::ids::Incarnation;
use model::secret::Env;
use tempfile::TempDir;

use super::*;
use crate::fixtures::store_with_app;

struct World {
    store: Store,
    app: AppId,
    _folder: TempDir,
}

const CANCELLED: &str = "task was cancelled";
const ROOM: u32 = 1_000;

async fn world() -> World {
    let (folder, store, app) = store_with_app().await;
    World {
        store,
        app: app.id,
        _folder: folder,
    }
}

impl World {
    async fn task(&self, name: &str) -> Task {
        self.ask(name, ROOM).await.expect("there is room")
    }

    async fn ask(&self, name: &str, max_open: u32) -> Option<Task> {
        let new = NewTask {
            id: TaskId::random(),
            app: self.app,
            name: name.into(),
            command: Secret::new("echo hunter2".into()),
            droplet: DropletId::random(),
            stack: Stack("host-x".into()),
            limits: Limits::DEFAULT,
            metadata: Metadata::default(),
            plan: TaskPlan {
                app_name: "hello".into(),
                layers: vec![],
                env: Env::from_iter([("PASSWORD", "hunter2")]),
            },
            created_by: "admin".into(),
        };
        self.store
            .insert_task(&new, max_open)
            .await
            .expect("inserts")
    }

    async fn state(&self, id: TaskId) -> TaskState {
        let found = self.store.find_task(id).await.expect("reads");
        found.expect("it is there").state
    }
}

fn placement(cell: CellId) -> Placement {
    Placement {
        cell,
        incarnation: Incarnation::random(),
        epoch: 3,
    }
}

fn failed(reason: &str) -> TaskState {
    TaskState::Failed {
        reason: reason.into(),
    }
}

fn is_late<T: std::fmt::Debug>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Missing))
}

#[tokio::test]
async fn a_task_is_placed_once_and_only_its_cell_is_believed() {
    let world = world().await;
    let (store, task) = (&world.store, world.task("migrate").await);
    let (cell, other) = (CellId::random(), CellId::random());
    assert_eq!((task.sequence, task.state), (1, TaskState::Pending));
    assert!(
        !store.start_task(task.id, cell).await.expect("writes"),
        "it was sent to nobody"
    );
    store
        .place_task(task.id, placement(cell))
        .await
        .expect("places");
    assert!(is_late(store.place_task(task.id, placement(other)).await));
    assert!(is_late(store.place_task(task.id, placement(cell)).await));

    assert!(!store.start_task(task.id, other).await.expect("writes"));
    assert!(store.start_task(task.id, cell).await.expect("writes"));
    assert!(
        !store.start_task(task.id, cell).await.expect("writes"),
        "doubled"
    );
    assert_eq!(world.state(task.id).await, TaskState::Running);

    let end = |teller, end| async move { store.finish_task(task.id, teller, &end, ROOM).await };
    assert!(is_late(
        end(TaskTeller::Cell(other), TaskState::Succeeded).await
    ));
    let done = end(TaskTeller::Cell(cell), TaskState::Succeeded)
        .await
        .expect("ends");
    assert_eq!((done.task.state, done.pruned), (TaskState::Succeeded, 0));
    for late in [TaskTeller::Cell(cell), TaskTeller::Server] {
        assert!(is_late(end(late, failed("lost")).await), "{late:?}");
    }
    assert_eq!(world.state(task.id).await, TaskState::Succeeded);
    assert!(is_late(store.cancel_task(task.id, CANCELLED, ROOM).await));
    assert!(!store.start_task(task.id, cell).await.expect("writes"));
}

/// Every state of a task that a cancellation can meet.
#[tokio::test]
async fn a_cancellation_ends_what_was_not_sent_and_asks_for_the_rest() {
    let world = world().await;
    let (store, cell) = (&world.store, CellId::random());
    let pending = world.task("pending").await;
    let cancelled = store.cancel_task(pending.id, CANCELLED, ROOM).await;
    assert_eq!(cancelled.expect("cancels").state, failed(CANCELLED));
    assert!(is_late(store.place_task(pending.id, placement(cell)).await));

    for starts in [false, true] {
        let task = world.task("placed").await;
        store
            .place_task(task.id, placement(cell))
            .await
            .expect("places");
        if starts {
            assert!(store.start_task(task.id, cell).await.expect("writes"));
        }
        for _ in 0..2 {
            let cancelled = store.cancel_task(task.id, CANCELLED, ROOM).await;
            assert_eq!(cancelled.expect("cancels").state, TaskState::Canceling);
        }
        assert!(
            !store.start_task(task.id, cell).await.expect("writes"),
            "a late word does not undo the wish"
        );
        let end = store
            .finish_task(task.id, TaskTeller::Cell(cell), &TaskState::Succeeded, ROOM)
            .await;
        assert_eq!(end.expect("ends").task.state, TaskState::Succeeded);
    }
    assert_eq!(store.list_open_tasks().await.expect("lists"), []);
}

#[tokio::test]
async fn secrets_of_a_task_are_sealed_and_its_plan_goes_with_its_end() {
    let world = world().await;
    let task = world.task("migrate").await;
    assert_eq!(task.command.expose(), "echo hunter2");
    let plan = world.store.find_task_plan(task.id).await.expect("reads");
    assert_eq!(plan.expect("a plan").env.get("PASSWORD"), Some("hunter2"));
    let row = sqlx::query("SELECT command, plan FROM tasks")
        .fetch_one(&world.store.reader)
        .await
        .expect("a row");
    for column in ["command", "plan"] {
        let bytes = rows::bytes(&row, column).expect("bytes");
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    }
    let end = world
        .store
        .finish_task(task.id, TaskTeller::Server, &failed("lost"), ROOM)
        .await;
    assert_eq!(end.expect("ends").task.command.expose(), "echo hunter2");
    assert_eq!(
        world.store.find_task_plan(task.id).await.expect("reads"),
        None
    );
}

#[tokio::test]
async fn finished_tasks_beyond_the_bound_go_and_numbers_are_never_used_again() {
    let world = world().await;
    let store = &world.store;
    let open = world.task("stays open").await;
    let mut pruned = 0;
    for _ in 0..5 {
        let task = world.task("short").await;
        let done = store
            .finish_task(task.id, TaskTeller::Server, &TaskState::Succeeded, 2)
            .await
            .expect("ends");
        pruned += done.pruned;
    }
    let cancelled = world.task("cancelled").await;
    store
        .cancel_task(cancelled.id, CANCELLED, 2)
        .await
        .expect("cancels");
    assert_eq!(pruned, 3);
    let all = store
        .list_tasks(&TaskFilter::default(), PageRequest::ALL)
        .await
        .expect("lists");
    let numbers = |page: &Page<Task>| {
        page.items
            .iter()
            .map(|task| task.sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!((numbers(&all), all.total), (vec![1, 6, 7], 3));
    assert_eq!(world.task("next").await.sequence, 8);

    assert_eq!(world.ask("one too many", 2).await, None);
    store
        .cancel_task(open.id, CANCELLED, 2)
        .await
        .expect("cancels");
    assert_eq!(world.ask("now", 2).await.expect("room").sequence, 9);
}

#[tokio::test]
async fn tasks_are_found_by_every_filter() {
    let world = world().await;
    let (store, first) = (&world.store, world.task("a").await);
    let second = world.task("b").await;
    store
        .cancel_task(first.id, CANCELLED, ROOM)
        .await
        .expect("cancels");
    let space = store.find_app(world.app).await.expect("reads");
    let space = space.expect("an app").space;
    let org = store.find_space(space).await.expect("reads");
    let org = org.expect("a space").org;
    let base = TaskFilter::default;
    let nobody = SpaceId::random();
    for (filter, want) in [
        (base(), vec![1, 2]),
        (
            TaskFilter {
                guids: vec![second.id],
                ..base()
            },
            vec![2],
        ),
        (
            TaskFilter {
                names: vec!["a".into()],
                ..base()
            },
            vec![1],
        ),
        (
            TaskFilter {
                states: vec!["PENDING".into()],
                ..base()
            },
            vec![2],
        ),
        (
            TaskFilter {
                states: vec!["FAILED".into(), "RUNNING".into()],
                ..base()
            },
            vec![1],
        ),
        (
            TaskFilter {
                sequences: vec![2, 9],
                ..base()
            },
            vec![2],
        ),
        (
            TaskFilter {
                apps: vec![world.app],
                ..base()
            },
            vec![1, 2],
        ),
        (
            TaskFilter {
                apps: vec![AppId::random()],
                ..base()
            },
            vec![],
        ),
        (
            TaskFilter {
                spaces: vec![space],
                orgs: vec![org],
                ..base()
            },
            vec![1, 2],
        ),
        (
            TaskFilter {
                spaces: vec![nobody],
                ..base()
            },
            vec![],
        ),
        (
            TaskFilter {
                orgs: vec![OrgId::random()],
                ..base()
            },
            vec![],
        ),
        (
            TaskFilter {
                order: TaskOrder {
                    by_change: false,
                    descending: true,
                },
                ..base()
            },
            vec![2, 1],
        ),
        (
            TaskFilter {
                order: TaskOrder {
                    by_change: true,
                    descending: true,
                },
                ..base()
            },
            vec![1, 2],
        ),
        (
            TaskFilter {
                order: TaskOrder {
                    by_change: true,
                    descending: false,
                },
                ..base()
            },
            vec![2, 1],
        ),
    ] {
        let found = store
            .list_tasks(&filter, PageRequest::ALL)
            .await
            .expect("lists");
        let numbers = found.items.iter().map(|task| task.sequence);
        assert_eq!(numbers.collect::<Vec<_>>(), want, "{filter:?}");
    }
    let labels = [("team".to_owned(), "a".to_owned())].into();
    let metadata = Metadata {
        labels,
        ..Metadata::default()
    };
    let changed = store.update_task_metadata(second.id, &metadata).await;
    assert_eq!(changed.expect("writes").metadata, metadata);
    assert!(is_late(
        store
            .update_task_metadata(TaskId::random(), &metadata)
            .await
    ));
}
