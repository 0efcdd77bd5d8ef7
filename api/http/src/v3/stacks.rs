//! The stack of the connected cells; none while no cell is connected.

use api_types::{Page, Stack};
use axum::Json;

use super::buildpacks::named_guid;
use crate::error::Outcome;
use crate::request::Ask;

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Stack>>> {
    let query = ask.query(&["names", "default", "label_selector"])?;
    query.order(&["name"])?;
    let unlabelled = query.wants_unlabelled()?;
    let names = query.texts("names")?;
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let stacks = ask
        .control
        .stack()
        .into_iter()
        .filter(|stack| unlabelled && wanted(&stack.0))
        .map(|stack| Stack {
            guid: named_guid(&stack.0),
            description: Some("the read-only system of the hosts".into()),
            default: true,
            name: stack.0,
            ..Stack::default()
        });
    Ok(Json(query.answer(
        &ask.urls,
        query.part(stacks.collect()),
        |stack| stack,
    )))
}
