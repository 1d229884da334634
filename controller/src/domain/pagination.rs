//! Pages of lists.

use proto::api::{Link, Pagination};

pub const DEFAULT_PER_PAGE: u64 = 50;
pub const MAX_PER_PAGE: u64 = 5000;

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub page: u64,
    pub per_page: u64,
}

impl Window {
    /// Reads `page` and `per_page`; the error is for the user.
    pub fn parse(page: Option<&str>, per_page: Option<&str>) -> Result<Window, String> {
        let number = |name: &str, text: Option<&str>, default: u64| match text {
            None => Ok(default),
            Some(text) => match text.parse::<u64>() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{name} must be a positive integer")),
            },
        };
        let page = number("Page", page, 1)?;
        let per_page = number("Per page", per_page, DEFAULT_PER_PAGE)?;
        if per_page > MAX_PER_PAGE {
            return Err(format!("Per page must be between 1 and {MAX_PER_PAGE}"));
        }
        if page > u64::from(u32::MAX) {
            return Err("Page is too large".to_string());
        }
        Ok(Window { page, per_page })
    }

    pub fn limit(self) -> i64 {
        self.per_page as i64
    }

    pub fn offset(self) -> i64 {
        ((self.page - 1) * self.per_page) as i64
    }

    /// The links to the other pages. `url` is absolute, without a query; `query` is the rest of the
    /// query (already encoded), kept on every link.
    pub fn links(self, url: &str, query: &str, total_results: u64) -> Pagination {
        let total_pages = total_results.div_ceil(self.per_page).max(1);
        let link = |page: u64| {
            let rest = if query.is_empty() {
                String::new()
            } else {
                format!("&{query}")
            };
            Some(Link::to(format!(
                "{url}?page={page}&per_page={}{rest}",
                self.per_page
            )))
        };
        Pagination {
            total_results,
            total_pages,
            first: link(1),
            last: link(total_pages),
            next: if self.page < total_pages {
                link(self.page + 1)
            } else {
                None
            },
            previous: if self.page > 1 {
                link((self.page - 1).min(total_pages))
            } else {
                None
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_page_is_refused() {
        for (page, per_page) in [
            (Some("0"), None),
            (Some("x"), None),
            (None, Some("0")),
            (None, Some("5001")),
            (Some("-1"), None),
        ] {
            assert!(
                Window::parse(page, per_page).is_err(),
                "{page:?} {per_page:?}"
            );
        }
        assert_eq!(
            Window::parse(None, None),
            Ok(Window {
                page: 1,
                per_page: 50
            })
        );
        assert_eq!(
            Window::parse(Some("2"), Some("5000")),
            Ok(Window {
                page: 2,
                per_page: 5000
            })
        );
    }

    proptest! {
        #[test]
        fn following_next_visits_every_result_once(total in 0u64..400, per_page in 1u64..60) {
            let mut seen = 0;
            let mut page = Window { page: 1, per_page };
            loop {
                let here = total.saturating_sub(page.offset() as u64).min(per_page);
                seen += here;
                let links = page.links("http://x", "names=a", total);
                prop_assert_eq!(links.total_results, total);
                match links.next {
                    Some(next) => {
                        prop_assert!(here == per_page);
                        let expected = format!("http://x?page={}&per_page={}&names=a", page.page + 1, per_page);
                        prop_assert_eq!(next.href, expected);
                        page.page += 1;
                    }
                    None => break,
                }
            }
            prop_assert_eq!(seen, total);
        }
    }
}
