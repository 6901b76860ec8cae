//! The page of a program that was built without the dashboard: the same numbers as plain tables.

use std::fmt::Write;

use axum::response::Html;

use crate::site::Site;

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
    } else {
        pipelines(site, &mut page).await;
    }
    page.push_str("</body></html>");
    Html(page)
}

async fn pipelines(site: &Site, page: &mut String) {
    let Ok(served) = site.options.host.pipelines().await else {
        page.push_str("<p>The pipelines cannot be read at this moment.</p>");
        return;
    };
    page.push_str("<h2>Pipelines</h2><table><tr><th>Name</th></tr>");
    for pipeline in served {
        let _ = write!(page, "<tr><td>{}</td></tr>", escaped(&pipeline.name));
    }
    page.push_str("</table>");
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
