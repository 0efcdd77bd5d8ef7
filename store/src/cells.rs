//! The registry of cells that may hold instances.

use model::ids::{CellId, Incarnation};

use crate::error::{Result, Tried};
use crate::records::Cell;
use crate::rows;
use crate::{Store, now_us};

impl Store {
    /// Notes that a cell joined or returned.
    pub async fn join_cell(&self, id: CellId, name: &str, incarnation: Incarnation) -> Result<()> {
        sqlx::query(
            "INSERT INTO cells (guid, name, incarnation, state, updated_us) VALUES ($1, $2, $3, 'JOINED', $4)
             ON CONFLICT (guid) DO UPDATE SET name = $2, incarnation = $3, state = 'JOINED', updated_us = $4
             WHERE cells.incarnation <> $3 OR cells.state <> 'JOINED' OR cells.name <> $2",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(incarnation.to_string())
        .bind(now_us())
        .execute(&self.writer)
        .await
        .tried("note a cell")?;
        Ok(())
    }

    pub async fn lose_cell(&self, id: CellId) -> Result<()> {
        sqlx::query("UPDATE cells SET state = 'LOST', updated_us = $2 WHERE guid = $1")
            .bind(id.to_string())
            .bind(now_us())
            .execute(&self.writer)
            .await
            .tried("note a lost cell")?;
        Ok(())
    }

    pub async fn list_cells(&self) -> Result<Vec<Cell>> {
        let found = sqlx::query("SELECT * FROM cells ORDER BY guid")
            .fetch_all(&self.reader)
            .await
            .tried("list cells")?;
        found
            .iter()
            .map(|row| {
                Ok(Cell {
                    id: rows::parsed(row, "guid")?,
                    name: rows::text(row, "name")?,
                    incarnation: rows::parsed(row, "incarnation")?,
                    lost: rows::text(row, "state")? == "LOST",
                    updated_us: rows::big(row, "updated_us")?,
                })
            })
            .collect()
    }
}
