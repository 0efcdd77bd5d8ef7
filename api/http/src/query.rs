//! Queries of lists: which filters there are, what they mean, and which page is wanted.

use std::str::FromStr;

use api_control::LabelNeed;
use api_control::records::{Page, PageRequest};
use api_types::Pagination;
use http::Uri;

use crate::error::{ApiError, Outcome};
use crate::urls::Urls;
use crate::{form, labels};

/// Cloud Foundry's default and limit.
const PER_PAGE: u32 = 50;
const MAX_PER_PAGE: u32 = 5000;
/// `cf` sends filters in batches of 200.
const MAX_VALUES: usize = 2000;
/// Every list has these.
const COMMON: &[&str] = &["page", "per_page", "order_by"];

/// The query of one list, checked: it has no parameter that the list does not know.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    path: String,
    pairs: Vec<(String, String)>,
    page: PageRequest,
}

impl Query {
    /// `known` names the list's filters beside the paging; `fields` stands for every `fields[…]`.
    pub(crate) fn parse(uri: &Uri, known: &[&str]) -> Outcome<Self> {
        let pairs = Self::pairs(uri)?;
        let is_known = |key: &str| {
            let name = if key.starts_with("fields[") {
                "fields"
            } else {
                key
            };
            COMMON.contains(&name) || known.contains(&name)
        };
        let mut unknown = pairs
            .iter()
            .map(|(key, _)| key.as_str())
            .filter(|key| !is_known(key))
            .collect::<Vec<_>>();
        unknown.dedup();
        if !unknown.is_empty() {
            let valid = COMMON
                .iter()
                .chain(known)
                .map(|key| format!("'{key}'"))
                .collect::<Vec<_>>()
                .join(", ");
            let unknown = unknown
                .iter()
                .map(|key| format!("'{}'", short(key)))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(ApiError::bad_query(format!(
                "Unknown query parameter(s): {unknown}. Valid parameters are: {valid}"
            )));
        }
        Self::with(uri, pairs)
    }

    /// For lists that are empty whatever is asked.
    pub(crate) fn of_anything(uri: &Uri) -> Outcome<Self> {
        Self::with(uri, Self::pairs(uri)?)
    }

    fn pairs(uri: &Uri) -> Outcome<Vec<(String, String)>> {
        form::decode(uri.query().unwrap_or_default())
            .ok_or_else(|| ApiError::bad_query("it is not UTF-8"))
    }

    fn with(uri: &Uri, pairs: Vec<(String, String)>) -> Outcome<Self> {
        let mut query = Self {
            path: uri.path().to_owned(),
            pairs,
            page: PageRequest {
                page: 1,
                per_page: PER_PAGE,
            },
        };
        query.page.page = query.number("page", 1, u32::MAX)?.unwrap_or(1);
        query.page.per_page = query
            .number("per_page", 1, MAX_PER_PAGE)?
            .unwrap_or(PER_PAGE);
        Ok(query)
    }

    fn number(&self, key: &str, least: u32, most: u32) -> Outcome<Option<u32>> {
        let Some(text) = self.first(key) else {
            return Ok(None);
        };
        let number = text
            .parse()
            .ok()
            .filter(|number| (least..=most).contains(number));
        let name = if key == "page" { "Page" } else { "Per page" };
        let bounds = if most == u32::MAX {
            format!("greater than {}", least - 1)
        } else {
            format!("between {least} and {most}")
        };
        number
            .map(Some)
            .ok_or_else(|| ApiError::bad_query(format!("{name} must be {bounds}")))
    }

    /// The value of a parameter that is no list.
    pub(crate) fn first(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// The values of a filter. An empty value is one empty text, so that it matches what is exactly empty; none at all
    /// means that the filter is not there.
    pub(crate) fn exact(&self, key: &str) -> Outcome<Option<Vec<String>>> {
        let mut values = None::<Vec<String>>;
        for (_, value) in self.pairs.iter().filter(|(known, _)| known == key) {
            let values = values.get_or_insert_default();
            // A comma inside a value arrives escaped a second time.
            values.extend(
                value
                    .split(',')
                    .map(|part| part.trim().replace("%2C", ",").replace("%2c", ",")),
            );
            if values.len() > MAX_VALUES {
                return Err(ApiError::bad_query(format!(
                    "'{key}' has more than {MAX_VALUES} values"
                )));
            }
        }
        Ok(values)
    }

    /// The values of a filter, empty where it is not there.
    pub(crate) fn texts(&self, key: &str) -> Outcome<Vec<String>> {
        Ok(self.exact(key)?.unwrap_or_default())
    }

    /// The GUIDs of a filter, empty where it is not there. What is no GUID names nothing; a filter of such values only
    /// must match nothing, and so becomes the nil GUID, which no resource has.
    pub(crate) fn guids<T: FromStr>(&self, key: &str) -> Outcome<Vec<T>> {
        let Some(values) = self.exact(key)? else {
            return Ok(Vec::new());
        };
        let mut guids = values
            .iter()
            .filter_map(|value| value.parse().ok())
            .collect::<Vec<_>>();
        if guids.is_empty() {
            guids.extend("00000000-0000-0000-0000-000000000000".parse().ok());
        }
        Ok(guids)
    }

    /// The wanted order, if it is one that the list has.
    pub(crate) fn order(&self, possible: &[&str]) -> Outcome<Option<&str>> {
        match self.first("order_by") {
            None | Some("") => Ok(None),
            Some(order) if possible.contains(&order) => Ok(Some(order)),
            Some(_) => {
                let possible = possible
                    .iter()
                    .map(|order| format!("'{order}'"))
                    .collect::<Vec<_>>()
                    .join(", ");
                Err(ApiError::bad_query(format!(
                    "Order by can only be: {possible}"
                )))
            }
        }
    }

    /// Whether `order_by` asks for the newest first, in lists that can be read both ways.
    pub(crate) fn newest_first(&self) -> Outcome<bool> {
        Ok(self.order(&["created_at", "-created_at"])? == Some("-created_at"))
    }

    /// What `include` asks for, if the list can give it.
    pub(crate) fn includes(&self, possible: &[&str]) -> Outcome<Vec<String>> {
        let wanted = self.texts("include")?;
        match wanted
            .iter()
            .find(|wanted| !possible.contains(&wanted.as_str()))
        {
            None => Ok(wanted),
            Some(unknown) => {
                let possible = possible
                    .iter()
                    .map(|name| format!("'{name}'"))
                    .collect::<Vec<_>>()
                    .join(", ");
                let unknown = short(unknown);
                Err(ApiError::bad_query(format!(
                    "Invalid included resource: '{unknown}'. Valid included resources are: {possible}"
                )))
            }
        }
    }

    /// What `label_selector` asks for.
    pub(crate) fn labels(&self) -> Outcome<Vec<LabelNeed>> {
        match self.first("label_selector") {
            None => Ok(Vec::new()),
            Some(text) => labels::parse(text)
                .ok_or_else(|| ApiError::bad_query("Invalid label_selector value")),
        }
    }

    /// Whether `label_selector` lets things pass that have no labels, of which some lists consist.
    pub(crate) fn wants_unlabelled(&self) -> Outcome<bool> {
        Ok(self.labels()?.iter().all(|need| !need.wanted))
    }

    pub(crate) const fn page(&self) -> PageRequest {
        self.page
    }

    /// Presents a page of the list, with links to its neighbours.
    pub(crate) fn answer<T, U>(
        &self,
        urls: &Urls,
        page: Page<T>,
        present: impl FnMut(T) -> U,
    ) -> api_types::Page<U> {
        let per_page = u64::from(self.page.per_page);
        let pages = page.total.div_ceil(per_page).max(1);
        let current = u64::from(self.page.page);
        let pagination = Pagination {
            total_results: page.total,
            total_pages: pages,
            first: urls.link(&self.at(1)),
            last: urls.link(&self.at(pages)),
            next: (current < pages).then(|| urls.link(&self.at(current + 1))),
            previous: (current > 1).then(|| urls.link(&self.at((current - 1).min(pages)))),
        };
        api_types::Page {
            pagination,
            resources: page.items.into_iter().map(present).collect(),
            included: None,
        }
    }

    fn at(&self, page: u64) -> String {
        let (page, per_page) = (page.to_string(), self.page.per_page.to_string());
        let paging = [("page", page.as_str()), ("per_page", per_page.as_str())];
        let filters = self
            .pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let filters = filters.filter(|(key, _)| *key != "page" && *key != "per_page");
        format!(
            "{}?{}",
            self.path,
            form::encode(paging.into_iter().chain(filters))
        )
    }

    /// The part of a list, held in memory, that is wanted.
    pub(crate) fn part<T>(&self, all: Vec<T>) -> Page<T> {
        let total = all.len() as u64;
        let skip = usize::try_from(self.page.offset()).unwrap_or(usize::MAX);
        Page {
            items: all
                .into_iter()
                .skip(skip)
                .take(self.page.per_page as usize)
                .collect(),
            total,
        }
    }
}

/// What clients sent is repeated to them, but not at any length.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use api_control::records::Page;
    use model::ids::AppId;

    use super::*;

    fn query(text: &str) -> Outcome<Query> {
        Query::parse(
            &text.parse().expect("a URI"),
            &["names", "guids", "hosts", "fields", "include"],
        )
    }

    fn refusal(text: &str) -> String {
        format!("{:?}", query(text).expect_err(text))
    }

    #[test]
    fn commas_separate_and_twice_escaped_commas_do_not() {
        let query = query("/v3/apps?names=a,b%2Cc,d%252Ce&names=f").expect("fine");
        assert_eq!(
            query.texts("names").expect("fine"),
            ["a", "b", "c", "d,e", "f"]
        );
    }

    #[test]
    fn an_empty_filter_is_not_a_missing_one() {
        let query = query("/v3/routes?hosts=&guids=nonsense").expect("fine");
        assert_eq!(
            query.exact("hosts").expect("fine"),
            Some(vec![String::new()])
        );
        assert_eq!(query.exact("names").expect("fine"), None);
        let guids = query.guids::<AppId>("guids").expect("fine");
        assert_eq!(
            guids.len(),
            1,
            "a filter that names nothing must not become no filter"
        );
        assert!(query.guids::<AppId>("app_guids").expect("fine").is_empty());
    }

    #[test]
    fn pages_have_bounds() {
        for bad in [
            "page=0",
            "page=x",
            "page=-1",
            "per_page=0",
            "per_page=5001",
            "per_page=",
            "page=99999999999",
        ] {
            assert!(
                refusal(&format!("/v3/apps?{bad}")).contains("must be"),
                "{bad}"
            );
        }
        let query = query("/v3/apps?per_page=5000").expect("fine");
        assert_eq!(
            query.page(),
            PageRequest {
                page: 1,
                per_page: 5000
            }
        );
    }

    #[test]
    fn unknown_parameters_are_named() {
        let text = refusal("/v3/apps?nmaes=x");
        assert!(
            text.contains("Unknown query parameter(s): 'nmaes'") && text.contains("'names'"),
            "{text}"
        );
        assert!(query("/v3/x?fields%5Bspace%5D=name").is_ok());
        assert!(
            query("/v3/x?order_by=name")
                .expect("fine")
                .order(&["created_at"])
                .is_err()
        );
        assert!(
            query("/v3/x?include=moon")
                .expect("fine")
                .includes(&["space"])
                .is_err()
        );
    }

    #[test]
    fn neighbours_of_a_page_are_absolute_and_keep_the_filters() {
        let urls = Urls::at("http://api.localhost:8080");
        let query = query("/v3/apps?names=a%252Cb&page=2&per_page=2").expect("fine");
        let page = query.answer(
            &urls,
            Page {
                items: vec![1, 2],
                total: 5,
            },
            |item| item,
        );
        let at = |page: u32| {
            format!("http://api.localhost:8080/v3/apps?page={page}&per_page=2&names=a%252Cb")
        };
        let found = page.pagination;
        assert_eq!((found.total_results, found.total_pages), (5, 3));
        assert_eq!([found.first.href, found.last.href], [at(1), at(3)]);
        assert_eq!(found.next.expect("there is a third").href, at(3));
        assert_eq!(found.previous.expect("there is a first").href, at(1));
        let last = Query {
            page: PageRequest {
                page: 3,
                per_page: 2,
            },
            ..query
        };
        assert_eq!(
            last.answer(
                &urls,
                Page {
                    items: vec![5],
                    total: 5
                },
                |item| item
            )
            .pagination
            .next,
            None
        );
    }
}
