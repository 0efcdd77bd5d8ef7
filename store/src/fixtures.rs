//! What tests of more than one kind of record begin with.

use model::ids::AppId;
use model::secret::Env;
use tempfile::TempDir;

use crate::Store;
use crate::records::{App, AppState, Metadata};

/// A fresh store with one app in it, which is stopped.
pub(crate) async fn store_with_app() -> (TempDir, Store, App) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).await.expect("opens");
    let org = store.insert_org("main").await.expect("an org");
    let space = store.insert_space(org.id, "dev").await.expect("a space");
    let app = App {
        id: AppId::random(),
        space: space.id,
        name: "hello".into(),
        state: AppState::Stopped,
        buildpacks: vec![],
        stack: None,
        current_droplet: None,
        env: Env::new(),
        metadata: Metadata::default(),
        created_us: 1,
        updated_us: 1,
    };
    store.insert_app(&app).await.expect("an app");
    (folder, store, app)
}
