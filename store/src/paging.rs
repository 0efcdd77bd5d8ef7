//! Pages of lists.

use sqlx::sqlite::SqliteRow;

use crate::error::{Result, Tried};
use crate::records::{Page, PageRequest};
use crate::rows;

/// Reads a page whose rows count the whole list in their column `total`. A page beyond the last one has no row to say so;
/// there the first row of the list is asked.
pub(crate) async fn paged<T, F>(
    page: PageRequest,
    fetch: impl Fn(PageRequest) -> F,
    tried: &'static str,
    read: impl Fn(&SqliteRow) -> Result<T>,
) -> Result<Page<T>>
where
    F: Future<Output = sqlx::Result<Vec<SqliteRow>>>,
{
    let found = fetch(page).await.tried(tried)?;
    let counted = if found.is_empty() && page.page > 1 {
        let first = PageRequest {
            page: 1,
            per_page: 1,
        };
        fetch(first).await.tried(tried)?
    } else {
        Vec::new()
    };
    let total = match found.first().or(counted.first()) {
        Some(row) => rows::number(row, "total")?,
        None => 0,
    };
    Ok(Page {
        items: found.iter().map(read).collect::<Result<_>>()?,
        total,
    })
}
