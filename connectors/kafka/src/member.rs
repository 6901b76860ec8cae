//! Membership in a consumer group, which proposes what this process should read.
//!
//! It reads nothing: its partitions are paused as soon as they come, and the data is read by
//! consumers of their own. It also tells the group how far everything is delivered, because a
//! group listens to its members alone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::error::Context;
use contract::{Error, Result, SplitId};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientContext, TopicPartitionList};
use tracing::{debug, info, warn};

use crate::catalog::Partition;
use crate::client::{Connection, Witness, failed};

/// How often the thread looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Settings of a member: it keeps its partitions through a restart that is quicker than 6 s.
const PROPOSING: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "latest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1500"),
    ("queued.max.messages.kbytes", "1024"),
];

/// A member of a group.
pub struct Member {
    consumer: Arc<BaseConsumer<Membership>>,
    topics: Mutex<Vec<String>>,
    stop: Arc<AtomicBool>,
}

impl Member {
    /// Joins a group, under a name that differs from source to source of one process. Blocks for
    /// as long as it takes to make a client.
    ///
    /// # Errors
    /// External: no client can be made.
    pub fn join(connection: &Connection, group: &str, name: &str) -> Result<Self> {
        let mut config = connection.config(&[("group.id", group)]);
        for (name, value) in PROPOSING {
            if connection.property(name).is_none() {
                config.set(*name, *value);
            }
        }
        if connection.property("group.instance.id").is_none() {
            config.set("group.instance.id", instance(name));
        }
        let consumer: BaseConsumer<Membership> = config
            .create_with_context(Membership::default())
            .map_err(|error| failed(error, format!("could not join the group {group:?}")))?;
        let consumer = Arc::new(consumer);
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = (consumer.clone(), stop.clone());
        std::thread::Builder::new()
            .name("kafka group".to_owned())
            .spawn(move || attend(&theirs.0, &theirs.1))
            .external(|| "could not start a thread".to_owned())?;
        Ok(Self { consumer, topics: Mutex::default(), stop })
    }

    /// Asks the group for partitions of these topics.
    ///
    /// # Errors
    /// External: the client does not take them.
    pub fn subscribe<'a>(&self, topics: impl Iterator<Item = &'a String>) -> Result<()> {
        let topics: Vec<_> = topics.cloned().collect();
        let mut known = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == topics {
            return Ok(());
        }
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        let subscribed = self.consumer.subscribe(&names);
        subscribed.map_err(|error| failed(error, "could not subscribe to topics"))?;
        *known = topics;
        Ok(())
    }

    /// What the group proposes now.
    ///
    /// # Errors
    /// External: the group does not want this process.
    pub fn assigned(&self) -> Result<Vec<SplitId>> {
        let state = self.consumer.context().lock();
        match &state.refused {
            Some(reason) => Err(Error::external("the consumer group put this process out")
                .because(reason.clone())
                .hint("each process needs a `group.instance.id` of its own in `client`")),
            None => Ok(state.assigned.iter().map(Partition::split).collect()),
        }
    }

    /// Tells the group that everything before an offset is delivered, if the partition is still
    /// proposed to this process. Does not wait.
    pub fn commit(&self, partition: &Partition, offset: i64) {
        if !self.consumer.context().lock().assigned.contains(partition) {
            return;
        }
        let mut place = TopicPartitionList::with_capacity(1);
        let Partition { topic, number } = partition;
        let placed = place.add_partition_offset(topic, *number, Offset::Offset(offset));
        if let Err(error) = placed.and_then(|()| self.consumer.commit(&place, CommitMode::Async)) {
            debug!(split = %partition.split(), %error, "could not commit an offset");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Serves the group until the source is gone; then closes the consumer, which blocks.
fn attend(consumer: &BaseConsumer<Membership>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        // Records may come before their partition is paused; they are nothing to us.
        if let Some(Err(error)) = consumer.poll(LOOK_EVERY) {
            consumer.context().hear(&error);
        }
    }
}

/// A name that no other living process of the group has.
fn instance(name: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    format!("{name}-{}-{}", host.trim(), std::process::id())
}

/// What the group said.
#[derive(Default)]
pub struct Membership {
    state: Mutex<State>,
    witness: Witness,
}

#[derive(Default)]
struct State {
    assigned: BTreeSet<Partition>,
    refused: Option<String>,
}

impl Membership {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, error: &KafkaError) {
        let is_over = matches!(error, KafkaError::MessageConsumptionFatal(_))
            || error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
        if is_over {
            warn!(%error, "the consumer group refuses this process");
            self.lock().refused = Some(error.to_string());
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, part: &str, message: &str) {
        self.witness.log(level, part, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.witness.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let gone = of_list(partitions);
            info!(partitions = ?splits(&gone), "the group takes partitions away");
            self.lock().assigned.retain(|partition| !gone.contains(partition));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        if let Err(error) = consumer.pause(partitions) {
            warn!(%error, "could not pause partitions");
        }
        let new = of_list(partitions);
        info!(partitions = ?splits(&new), "the group proposes partitions");
        self.lock().assigned.extend(new);
    }
}

fn of_list(partitions: &TopicPartitionList) -> BTreeSet<Partition> {
    let elements = partitions.elements();
    let partition = elements.iter().map(|element| Partition {
        topic: element.topic().to_owned(),
        number: element.partition(),
    });
    partition.collect()
}

fn splits(partitions: &BTreeSet<Partition>) -> Vec<String> {
    partitions.iter().map(|partition| partition.split().to_string()).collect()
}
