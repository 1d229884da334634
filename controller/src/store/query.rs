//! Lists: conditions put together at run time, with numbered placeholders.
//!
//! Column names and operators are constants of this crate; only values come from outside, and
//! they are always bound.

use super::row::without_nul;
use super::sql::{Connection, Statement, Value, query};

/// `WHERE a AND b ORDER BY c LIMIT n OFFSET m`
#[derive(Debug, Clone, Default)]
pub struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
    order: String,
    window: Option<(i64, i64)>,
    is_kept: bool,
}

impl Filter {
    pub fn new() -> Filter {
        Filter::default()
    }

    fn placeholder(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    pub fn equals(mut self, column: &'static str, value: &str) -> Filter {
        let place = self.placeholder(without_nul(value));
        self.conditions.push(format!("{column} = {place}"));
        self
    }

    pub fn equals_number(mut self, column: &'static str, value: i64) -> Filter {
        let place = self.placeholder(value);
        self.conditions.push(format!("{column} = {place}"));
        self
    }

    /// One of these; an empty list matches nothing.
    pub fn any<S: AsRef<str>>(mut self, column: &'static str, values: &[S]) -> Filter {
        if values.is_empty() {
            self.conditions.push("1 = 0".into());
            return self;
        }
        let places: Vec<String> = values
            .iter()
            .map(|value| self.placeholder(without_nul(value.as_ref())))
            .collect();
        self.conditions
            .push(format!("{column} IN ({})", places.join(", ")));
        self
    }

    /// One of these numbers; an empty list matches nothing.
    pub fn any_number(mut self, column: &'static str, values: &[i64]) -> Filter {
        if values.is_empty() {
            self.conditions.push("1 = 0".into());
            return self;
        }
        let places: Vec<String> = values
            .iter()
            .map(|value| self.placeholder(*value))
            .collect();
        self.conditions
            .push(format!("{column} IN ({})", places.join(", ")));
        self
    }

    /// [`Filter::any`] if a list was given at all.
    pub fn any_if<S: AsRef<str>>(self, column: &'static str, values: Option<&[S]>) -> Filter {
        match values {
            Some(values) => self.any(column, values),
            None => self,
        }
    }

    /// `column` is in the result of `SELECT … WHERE inner IN (values)`.
    pub fn any_in<S: AsRef<str>>(
        mut self,
        column: &'static str,
        select: &'static str,
        values: &[S],
    ) -> Filter {
        if values.is_empty() {
            self.conditions.push("1 = 0".into());
            return self;
        }
        let places: Vec<String> = values
            .iter()
            .map(|value| self.placeholder(without_nul(value.as_ref())))
            .collect();
        self.conditions
            .push(format!("{column} IN ({select} IN ({}))", places.join(", ")));
        self
    }

    /// This row by its guid, or those that `select` (a query ending before `IN`) names: twice, for each of
    /// two columns, as in `SELECT user_guid FROM roles WHERE …`.
    pub fn own_or_any_in<S: AsRef<str>>(
        mut self,
        own: &str,
        selects: [&'static str; 2],
        values: &[S],
    ) -> Filter {
        let own = self.placeholder(without_nul(own));
        let mut alternatives = vec![format!("guid = {own}")];
        for select in selects {
            let inner = Filter {
                values: std::mem::take(&mut self.values),
                ..Filter::new()
            }
            .any_in("guid", select, values);
            self.values = inner.values;
            alternatives.extend(inner.conditions);
        }
        self.conditions
            .push(format!("({})", alternatives.join(" OR ")));
        self
    }

    /// One column is in its list, or the other in its own.
    pub fn any_of_two(
        mut self,
        first: &'static str,
        firsts: &[String],
        second: &'static str,
        seconds: &[String],
    ) -> Filter {
        let one = Filter {
            values: std::mem::take(&mut self.values),
            ..Filter::new()
        }
        .any(first, firsts);
        let two = Filter {
            values: one.values,
            ..Filter::new()
        }
        .any(second, seconds);
        self.values = two.values;
        self.conditions.push(format!(
            "({} OR {})",
            one.conditions.join(""),
            two.conditions.join("")
        ));
        self
    }

    /// Some of these pieces is in the text of a column, letter for letter; `wanted` false: none is.
    pub fn contains(mut self, column: &'static str, pieces: &[String], wanted: bool) -> Filter {
        // LIKE would take letters of either case here and not there.
        let found: Vec<String> = pieces
            .iter()
            .map(|piece| {
                let place = self.placeholder(without_nul(piece));
                format!("replace({column}, {place}, '') <> {column}")
            })
            .collect();
        let any = match found.is_empty() {
            true => "1 = 0".to_string(),
            false => found.join(" OR "),
        };
        self.conditions.push(match wanted {
            true => format!("({any})"),
            false => format!("NOT ({any})"),
        });
        self
    }

    /// A condition without values.
    pub fn only(mut self, condition: &'static str) -> Filter {
        self.conditions.push(condition.into());
        self
    }

    /// `column <op> number`, for times.
    pub fn compare(mut self, column: &'static str, operator: &'static str, value: i64) -> Filter {
        let place = self.placeholder(value);
        self.conditions.push(format!("{column} {operator} {place}"));
        self
    }

    /// `guid` last, so that pages do not overlap where values are equal.
    pub fn order(self, column: &'static str, descending: bool) -> Filter {
        self.order_by(column, "guid", descending)
    }

    /// The same with another key.
    pub fn order_by(mut self, column: &'static str, key: &'static str, descending: bool) -> Filter {
        let direction = if descending { "DESC" } else { "ASC" };
        self.order = if column == key {
            format!("{key} {direction}")
        } else {
            format!("{column} {direction}, {key} {direction}")
        };
        self
    }

    /// It has the same text each time and is often needed: the statement stays prepared.
    pub fn kept(mut self) -> Filter {
        self.is_kept = true;
        self
    }

    pub fn window(mut self, limit: i64, offset: i64) -> Filter {
        self.window = Some((limit, offset));
        self
    }

    /// The same conditions without order and window, for counting.
    pub fn counting(&self) -> Filter {
        Filter {
            conditions: self.conditions.clone(),
            values: self.values.clone(),
            order: String::new(),
            window: None,
            is_kept: self.is_kept,
        }
    }

    pub fn sql(&self, select: &str) -> String {
        let mut sql = select.trim_end().to_string();
        if !self.conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&self.conditions.join(" AND "));
        }
        if !self.order.is_empty() {
            sql.push_str(" ORDER BY ");
            sql.push_str(&self.order);
        }
        if let Some((limit, offset)) = self.window {
            sql.push_str(&format!(" LIMIT {limit} OFFSET {offset}"));
        }
        sql
    }

    pub fn bind(&self, mut statement: Statement) -> Statement {
        // Each combination of filters is its own text: keeping all prepared would fill the cache.
        statement = statement.kept(self.is_kept).long(self.window.is_some());
        for value in &self.values {
            statement = statement.bind(value.clone());
        }
        statement
    }

    /// How many rows of `table` match.
    pub async fn count(
        &self,
        connection: &mut Connection,
        table: &'static str,
    ) -> Result<u64, super::StoreError> {
        let counting = self.counting();
        let sql = counting.sql(&format!("SELECT count(*) FROM {table}"));
        let count: i64 = counting
            .bind(query(sql))
            .fetch_one(connection)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(super::StoreError::during("count rows"))?;
        Ok(count.max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_in_the_order_of_the_values() {
        let filter = Filter::new()
            .equals("a", "1")
            .any("b", &["2", "3"])
            .compare("c", ">", 4)
            .order("name", true)
            .window(10, 20);
        assert_eq!(
            filter.sql("SELECT x FROM t "),
            "SELECT x FROM t WHERE a = $1 AND b IN ($2, $3) AND c > $4 ORDER BY name DESC, guid DESC LIMIT 10 OFFSET 20"
        );
        assert_eq!(
            filter.counting().sql("SELECT count(*) FROM t"),
            "SELECT count(*) FROM t WHERE a = $1 AND b IN ($2, $3) AND c > $4"
        );
    }

    #[test]
    fn alternatives_number_their_values_on() {
        let selects = ["SELECT a FROM t WHERE x", "SELECT b FROM t WHERE y"];
        let filter = Filter::new()
            .equals("n", "1")
            .own_or_any_in("me", selects, &["p", "q"]);
        assert_eq!(
            filter.sql("S"),
            "S WHERE n = $1 AND (guid = $2 OR guid IN (SELECT a FROM t WHERE x IN ($3, $4)) OR guid IN (SELECT b FROM t WHERE y IN ($5, $6)))"
        );
        let alone = Filter::new().own_or_any_in::<&str>("me", selects, &[]);
        assert_eq!(alone.sql("S"), "S WHERE (guid = $1 OR 1 = 0 OR 1 = 0)");
    }

    #[test]
    fn pieces_of_a_text_are_looked_for() {
        let pieces = ["x".to_string(), "y".to_string()];
        let filter = Filter::new()
            .contains("a", &pieces, true)
            .contains("a", &pieces[..1], false);
        assert_eq!(
            filter.sql("S"),
            "S WHERE (replace(a, $1, '') <> a OR replace(a, $2, '') <> a) AND NOT (replace(a, $3, '') <> a)"
        );
    }

    #[test]
    fn an_empty_list_matches_nothing() {
        assert_eq!(
            Filter::new().any::<&str>("a", &[]).sql("S"),
            "S WHERE 1 = 0"
        );
        assert_eq!(Filter::new().any_if::<&str>("a", None).sql("S"), "S");
    }
}
