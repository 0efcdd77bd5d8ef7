//! Columns as `cf` prints them: no lines, two spaces between.

use comfy_table::{Cell, CellAlignment, ContentArrangement};

pub(crate) struct Table {
    table: comfy_table::Table,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.iter().copied());
        Self { table }
    }

    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        let clean = |text: String| text.replace(|c: char| c.is_control(), " ");
        let cells = cells
            .into_iter()
            .map(|cell| Cell::new(clean(cell.to_string())).set_alignment(CellAlignment::Left));
        self.table.add_row(cells);
    }

    /// The lines without the blanks that a column layout leaves at their ends.
    pub(crate) fn render(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.table
            .to_string()
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_control_characters_cannot_forge_lines() {
        let mut table = Table::new(&["name", "requested state", "routes"]);
        table.row(["hello", "started", "hello.localhost:8080"]);
        table.row(["a\nb\u{1b}[2J", "stopped", ""]);
        insta::assert_snapshot!(table.render(), @r"
        name     requested state  routes
        hello    started          hello.localhost:8080
        a b [2J  stopped
        ");
    }
}
