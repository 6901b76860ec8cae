//! Which records are shown.

use serde_json::Value;

use super::Tail;
use super::print::Record;

/// What the flags ask for; everything that is not asked for passes.
#[derive(Debug, Default)]
pub struct Filter {
    subscription: Option<String>,
    environment: Option<String>,
    /// In lower case.
    service: Option<String>,
}

impl Filter {
    /// The filter of the command line.
    pub fn new(tail: &Tail) -> Self {
        Self {
            subscription: tail.subscription.clone(),
            environment: tail.environment.clone(),
            service: tail.service.as_ref().map(|service| service.to_lowercase()),
        }
    }

    /// Whether a record is shown.
    pub fn lets_pass(&self, record: &Record) -> bool {
        let mut parts = record.key.as_deref().unwrap_or_default().split(':');
        let (subscription, environment) = (parts.next(), parts.next());
        let is = |wanted: &Option<String>, part: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| part == Some(wanted))
        };
        is(&self.subscription, subscription)
            && is(&self.environment, environment)
            && self.service.as_deref().is_none_or(|service| is_of_service(record, service))
    }
}

fn is_of_service(record: &Record, service: &str) -> bool {
    let text = |path: &str| record.json.as_ref()?.pointer(path).and_then(Value::as_str);
    let pod = text("/kubernetes/pod_name").map(str::to_lowercase);
    let source = text("/source/service").map(str::to_lowercase);
    if pod.is_some_and(|pod| pod.contains(service)) || source.as_deref() == Some(service) {
        return true;
    }
    record.value.as_ref().is_some_and(|value| value.to_lowercase().contains(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &Filter, key: &str, value: &str, expect: bool) {
        let record = Record::new("topic", 0, 0, Some(key.into()), Some(value.into()));
        assert_eq!(filter.lets_pass(&record), expect, "{key} {value}");
    }

    #[test]
    fn keys_are_taken_apart() {
        let filter = Filter { subscription: Some("shop".into()), ..Filter::default() };
        check(&filter, "shop:prod:blob", "{}", true);
        check(&filter, "shopping:prod:blob", "{}", false);
        let environment = Some("prod".into());
        let filter = Filter { subscription: Some("shop".into()), environment, service: None };
        check(&filter, "shop:prod", "{}", true);
        check(&filter, "shop:test:prod", "{}", false);
        check(&filter, "shop", "{}", false);
    }

    #[test]
    fn a_service_is_a_pod_a_source_or_a_text() {
        let filter = Filter { service: Some("checkout".into()), ..Filter::default() };
        check(&filter, "", r#"{"kubernetes":{"pod_name":"Checkout-7f"}}"#, true);
        check(&filter, "", r#"{"source":{"service":"CHECKOUT"}}"#, true);
        check(&filter, "", "calls checkout twice", true);
        check(&filter, "", r#"{"source":{"service":"cart"}}"#, false);
    }
}
