//! Doors to this crate's readers of queries, for the fuzz targets.

use http::Uri;
use model::ids::AppId;

use crate::query::Query;
use crate::urls::Urls;

/// Reads the query of a v3 list with every kind of filter. The answer is the wanted page, its size, and the path of the
/// page's neighbour as the answer links to it.
pub fn list_query(uri: &Uri) -> Option<(u32, u32, String)> {
    const FILTERS: &[&str] = &["names", "guids", "fields", "include", "label_selector"];
    let query = Query::parse(uri, FILTERS).ok()?;
    query.texts("names").ok()?;
    query.guids::<AppId>("guids").ok()?;
    query.includes(&["space", "space.organization"]).ok()?;
    query.newest_first().ok()?;
    let page = query.page();
    let asked = api_control::records::Page {
        items: vec![()],
        total: u64::from(u32::MAX) * 2,
    };
    let answer = query.answer(&Urls::at("http://api.localhost"), asked, |item| item);
    Some((page.page, page.per_page, answer.pagination.first.href))
}

/// Reads the query of a log-cache read: how many lines it may answer.
pub fn log_query(query: &str) -> Option<u32> {
    crate::log_cache::limit(query)
}
