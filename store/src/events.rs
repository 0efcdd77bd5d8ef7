//! Audit events: who did what. Their data is sealed, since the last words of a crashed app are part of it.

use model::ids::{OrgId, SpaceId};
use sqlx::SqliteExecutor;
use sqlx::sqlite::SqliteRow;

use crate::Store;
use crate::error::{Result, Tried};
use crate::paging::paged;
use crate::records::{Event, Page, PageRequest};
use crate::rows::{self, list};
use crate::seal::Seal;

#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub targets: Vec<String>,
    pub types: Vec<String>,
    pub spaces: Vec<SpaceId>,
    pub orgs: Vec<OrgId>,
    pub newest_first: bool,
}

/// [`Store::insert_event`], also as a part of a larger transaction.
pub(crate) async fn insert_in(to: impl SqliteExecutor<'_>, seal: &Seal, new: &Event) -> Result<()> {
    sqlx::query(
        "INSERT INTO events (guid, type, actor, actor_name, target, target_type, target_name, space, org, data, created_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(new.id.to_string())
    .bind(&new.event_type)
    .bind(&new.actor)
    .bind(&new.actor_name)
    .bind(&new.target)
    .bind(&new.target_type)
    .bind(&new.target_name)
    .bind(new.space.map(|id| id.to_string()))
    .bind(new.org.map(|id| id.to_string()))
    .bind(seal.seal("events.data", &new.data)?)
    .bind(new.created_us)
    .execute(to)
    .await
    .tried("insert an event")?;
    Ok(())
}

impl Store {
    fn event(&self, row: &SqliteRow) -> Result<Event> {
        Ok(Event {
            id: rows::parsed(row, "guid")?,
            event_type: rows::text(row, "type")?,
            actor: rows::text(row, "actor")?,
            actor_name: rows::text(row, "actor_name")?,
            target: rows::text(row, "target")?,
            target_type: rows::text(row, "target_type")?,
            target_name: rows::text(row, "target_name")?,
            space: rows::parsed_opt(row, "space")?,
            org: rows::parsed_opt(row, "org")?,
            data: match rows::bytes_opt(row, "data")? {
                Some(sealed) => self.seal.open("events.data", &sealed)?,
                None => serde_json::json!({}),
            },
            created_us: rows::big(row, "created_us")?,
        })
    }

    pub async fn insert_event(&self, new: &Event) -> Result<()> {
        insert_in(&self.writer, &self.seal, new).await
    }

    pub async fn list_events(
        &self,
        filter: &EventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM events
             WHERE ($1 IS NULL OR target IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR type IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR space IN (SELECT value FROM json_each($3)))
               AND ($4 IS NULL OR org IN (SELECT value FROM json_each($4)))
             ORDER BY CASE WHEN $5 THEN -created_us ELSE created_us END, guid LIMIT $6 OFFSET $7",
            )
            .bind(list(&filter.targets))
            .bind(list(&filter.types))
            .bind(list(&filter.spaces))
            .bind(list(&filter.orgs))
            .bind(filter.newest_first)
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list events", |row| self.event(row)).await
    }
}
