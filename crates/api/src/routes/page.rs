//! The page of a program that was built without the dashboard: the same numbers as plain tables.

use std::fmt::Write;

use axum::response::Html;
use serde_json::Value;

use crate::analytics::cell::Cell;
use crate::analytics::question::{Group, Measure, Question, Scope};
use crate::problem::Answer;
use crate::site::Site;

/// Endpoints that are listed.
const ENDPOINTS: u64 = 20;

/// How to come by the charts.
const WAY: &str = "This program was built without Node.js, so it shows tables. Build it again with \
                   Node.js 20 or newer and npm on the path for the dashboard with its charts.";

/// The page.
pub async fn plain(site: &Site) -> Html<String> {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Logmill</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><h1>Logmill</h1>",
    );
    let _ = write!(page, "<p>{WAY}</p><p><a href=\"/docs/\">The HTTP API</a></p>");
    if site.options.access.token.is_some() {
        page.push_str("<p>The numbers need the server's token: ask the API.</p>");
    } else if let Ok(_place) = site.place() {
        if requests(site, &mut page).await.is_err() {
            page.push_str("<p>There is no table of requests yet.</p>");
        }
        if pipelines(site, &mut page).await.is_err() {
            page.push_str("<p>The pipelines cannot be read at this moment.</p>");
        }
    }
    page.push_str("</body></html>");
    Html(page)
}

async fn requests(site: &Site, page: &mut String) -> Answer<()> {
    let desk = site.desk()?;
    let table = desk.newest().await?;
    let scope = Scope::default();
    let all = Question::of(&scope, &[Measure::Count, Measure::Errors, Measure::Last]);
    let all = desk.ask(&table, &all).await?;
    let cells = all[0].iter().map(shown).collect();
    rows(page, "Requests", &["Requests", "Errors", "Last"], vec![cells]);
    let endpoints = Question::of(&scope, &[Measure::Count])
        .by(vec![Group::Column("endpoint".to_owned())])
        .largest(0, Some(ENDPOINTS));
    let endpoints = desk.ask(&table, &endpoints).await?;
    let cells = endpoints.iter().map(|row| row.iter().map(shown).collect()).collect();
    rows(page, "Top endpoints", &["Endpoint", "Requests"], cells);
    let classes = Question::of(&scope, &[1, 2, 3, 4, 5].map(Measure::Class));
    let classes = desk.ask(&table, &classes).await?;
    let cells = classes[0].iter().map(shown).collect();
    rows(page, "Statuses", &["1xx", "2xx", "3xx", "4xx", "5xx"], vec![cells]);
    Ok(())
}

async fn pipelines(site: &Site, page: &mut String) -> Answer<()> {
    let mut cells = Vec::new();
    for detail in site.details().await? {
        cells.push(detail.overview().words());
    }
    let head = ["Name", "State", "Epochs", "Read", "Delivered", "Dead letters"];
    rows(page, "Pipelines", &head, cells);
    Ok(())
}

fn rows(page: &mut String, title: &str, head: &[&str], rows: Vec<Vec<String>>) {
    let _ = write!(page, "<h2>{title}</h2><table><tr>");
    head.iter().for_each(|name| page.push_str(&format!("<th>{name}</th>")));
    page.push_str("</tr>");
    for row in rows {
        page.push_str("<tr>");
        row.iter().for_each(|cell| page.push_str(&format!("<td>{}</td>", escaped(cell))));
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

/// A value as people read it.
fn shown(cell: &Cell) -> String {
    match serde_json::to_value(cell) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) | Err(_) => "–".to_owned(),
        Ok(other) => other.to_string(),
    }
}

/// A text as HTML writes it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
