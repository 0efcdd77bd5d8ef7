//! Queries of lists and of logs.

use http::Uri;

pub(crate) fn list(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(uri) = format!("/v3/apps?{text}").parse::<Uri>() else {
        return;
    };
    let Some((page, per_page, first)) = api_http::fuzz::list_query(&uri) else {
        return;
    };
    assert!(page >= 1 && (1..=5000).contains(&per_page));
    // The link to a page is understood again, as the page it names.
    let link: Uri = first.parse().expect("a link is a URI");
    let again = api_http::fuzz::list_query(&link).expect("our own link is a good query");
    assert_eq!(again, (1, per_page, first));
}

pub(crate) fn log(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(limit) = api_http::fuzz::log_query(text) {
        assert!((1..=1000).contains(&limit));
    }
}
