//! The table of figures, and its place in docs/benchmarks.md.

use std::fmt::Write;
use std::fs;

use crate::steps;

const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- begin: cargo xtask bench --write -->\n";
const END: &str = "<!-- end -->\n";

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Nothing was promised.
    None,
    /// Not less than this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
}

/// Figures with their goals.
#[derive(Default)]
pub struct Table {
    lines: String,
    figures: Vec<(String, f64)>,
}

impl Table {
    /// Adds a figure and prints it at once.
    pub fn add(&mut self, what: &str, figure: f64, unit: &str, goal: Goal) {
        let shown = |figure: f64| match figure.abs() {
            small if small < 10.0 => format!("{figure:.2}"),
            _ => format!("{figure:.0}"),
        };
        let wanted = match goal {
            Goal::None => String::new(),
            Goal::AtLeast(goal) if figure >= goal => format!("≥ {}, met", shown(goal)),
            Goal::AtMost(goal) if figure <= goal => format!("≤ {}, met", shown(goal)),
            Goal::AtLeast(goal) => format!("≥ {}, **missed**", shown(goal)),
            Goal::AtMost(goal) => format!("≤ {}, **missed**", shown(goal)),
        };
        let full = figure;
        let figure = shown(figure);
        println!("{what}: {figure} {unit} {wanted}");
        let wrote = writeln!(self.lines, "| {what} | {figure} {unit} | {wanted} |");
        wrote.expect("a string takes every line");
        self.figures.push((what.to_owned(), full));
    }

    /// Adds how many times as large one figure is as another one; nothing if one is missing.
    pub fn ratio(&mut self, of: &str, to: &str, goal: Goal) {
        let find = |wanted: &str| self.figures.iter().find(|(what, _)| what == wanted);
        if let (Some((_, of_figure)), Some((_, to_figure))) = (find(of), find(to)) {
            let ratio = of_figure / to_figure;
            self.add(&format!("{of}, to {to}"), ratio, "×", goal);
        }
    }

    /// The whole table.
    pub fn to_markdown(&self) -> String {
        format!("| what | figure | goal |\n|---|---|---|\n{}", self.lines)
    }
}

/// Puts the table between its marks in the page.
pub fn write(table: &str) -> Result<(), String> {
    let path = steps::root().join(PAGE);
    let page = fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let replaced = replace(&page, table).ok_or_else(|| format!("{PAGE} has lost its marks"))?;
    fs::write(&path, replaced).map_err(|error| format!("{PAGE}: {error}"))
}

fn replace(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_last_one() {
        let page = format!("a\n{BEGIN}old\n{END}z\n");
        assert_eq!(replace(&page, "new\n"), Some(format!("a\n{BEGIN}new\n{END}z\n")));
        assert_eq!(replace("no marks", "new\n"), None);
    }

    #[test]
    fn a_ratio_is_that_of_two_figures_of_the_table() {
        let mut table = Table::default();
        table.add("a", 30.0, "MB/s", Goal::None);
        table.add("b", 12.0, "MB/s", Goal::None);
        table.ratio("a", "b", Goal::None);
        table.ratio("a", "c", Goal::None);
        assert!(table.to_markdown().ends_with("| b | 12 MB/s |  |\n| a, to b | 2.50 × |  |\n"));
    }

    #[test]
    fn a_goal_says_whether_it_was_met() {
        let mut table = Table::default();
        table.add("a", 5.0, "MB/s", Goal::AtLeast(4.0));
        table.add("b", 1200.0, "ms", Goal::AtMost(100.0));
        table.add("c", 0.5, "cores", Goal::None);
        let expected = "| a | 5.00 MB/s | ≥ 4.00, met |\n| b | 1200 ms | ≤ 100, **missed** |\n| c \
                        | 0.50 cores |  |\n";
        assert!(table.to_markdown().ends_with(expected), "{}", table.to_markdown());
    }
}
