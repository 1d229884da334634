//! Tables without frames: columns two spaces apart, a header, nothing cut off.

use super::{Color, Output};
use comfy_table::{ContentArrangement, Table, presets};

/// A cell: a text and, where it says something, a colour. The colour goes on after the columns
/// were measured.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    color: Option<Color>,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, color: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::from(text.to_string())
    }
}

impl Cell {
    pub fn painted(out: &Output, color: Color, text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            color: out.color.then_some(color),
        }
    }

    fn styled(self) -> comfy_table::Cell {
        let cell = comfy_table::Cell::new(self.text);
        match self.color {
            Some(Color::Good) => cell.fg(comfy_table::Color::Green),
            Some(Color::Bad) => cell.fg(comfy_table::Color::Red),
            Some(Color::Careful) => cell.fg(comfy_table::Color::Yellow),
            Some(Color::Quiet) => cell.fg(comfy_table::Color::DarkGrey),
            Some(Color::Strong) => cell.add_attribute(comfy_table::Attribute::Bold),
            None => cell,
        }
    }
}

/// Renders rows under a header; `empty` instead if there are none.
pub fn table<const N: usize, C: Into<Cell>>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [C; N]>,
    empty: &str,
) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    let mut any = false;
    for row in rows {
        any = true;
        table.add_row(row.map(|cell| cell.into().styled()));
    }
    if !any {
        return format!("{empty}\n");
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = table
        .lines()
        .map(|line| line.trim_end().to_string())
        .collect::<Vec<_>>()
        .join("\n");
    text.push('\n');
    text
}

/// `name:  value` lines, values aligned.
pub fn fields(rows: &[(&str, String)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        + 1;
    rows.iter()
        .map(|(name, value)| format!("{:<width$}  {value}\n", format!("{name}:")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let text = table(
            ["name", "state"],
            [
                ["shop".to_string(), "started".to_string()],
                ["a-longer-name".to_string(), "stopped".to_string()],
            ],
            "no apps",
        );
        assert_eq!(
            text,
            "name           state\nshop           started\na-longer-name  stopped\n"
        );
        assert_eq!(
            table(["name"], Vec::<[String; 1]>::new(), "no apps"),
            "no apps\n"
        );
    }

    #[test]
    fn fields_line_up() {
        assert_eq!(
            fields(&[("name", "shop".into()), ("routes", "x".into())]),
            "name:    shop\nroutes:  x\n"
        );
    }
}
