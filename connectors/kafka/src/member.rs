//! Membership in a consumer group, which proposes what this process should read.
//!
//! It reads nothing: its partitions are paused as soon as they come, and the data is read by
//! consumers of their own. It also tells the group how far everything is delivered, because a
//! group listens to its members alone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// The property by which a group knows a process again.
const INSTANCE: &str = "group.instance.id";

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

/// So often within [`RIVAL_WITHIN`] a process may be put out by what it sent itself; more often, it
/// is the work of another process of the same name.
const RETURNS_MAX: usize = 3;
/// See [`RETURNS_MAX`].
const RIVAL_WITHIN: Duration = Duration::from_secs(60);

/// A group that has proposed nothing for so long proposes nothing: it says so by silence.
const PROPOSED_WITHIN: Duration = Duration::from_secs(20);

/// A member of a group.
pub struct Member {
    connection: Connection,
    group: String,
    name: String,
    client: Mutex<Client>,
}

/// What the group takes for the member. Dropped, it ends by and by.
struct Client {
    consumer: Arc<BaseConsumer<Membership>>,
    topics: Vec<String>,
    _stop: Stop,
    /// What was proposed to the client before this one; it holds until the group says more, or
    /// nothing for [`PROPOSED_WITHIN`].
    before: BTreeSet<Partition>,
    /// When clients before this one were put out.
    put_out: Vec<Instant>,
}

impl Member {
    /// Joins a group, under a name that differs from source to source of one process. Blocks for
    /// as long as it takes to make a client.
    ///
    /// # Errors
    /// External: no client can be made.
    pub fn join(connection: &Connection, group: &str, name: &str) -> Result<Self> {
        let client = Mutex::new(Client::join(connection, group, name)?);
        let (connection, group, name) = (connection.clone(), group.to_owned(), name.to_owned());
        Ok(Self { connection, group, name, client })
    }

    /// Asks the group for partitions of these topics. May block as [`Member::assigned`] does.
    ///
    /// # Errors
    /// External: the client does not take them, or the group does not want this process.
    pub fn subscribe<'a>(&self, topics: impl Iterator<Item = &'a String>) -> Result<()> {
        self.living()?.subscribe(topics.cloned().collect())
    }

    /// What the group proposes now. May block for as long as it takes to make a client.
    ///
    /// # Errors
    /// External: the group does not want this process.
    pub fn assigned(&self) -> Result<Vec<SplitId>> {
        Ok(self.living()?.proposed().iter().map(Partition::split).collect())
    }

    /// Tells the group that everything before an offset is delivered, if the partition is still
    /// proposed to this process. Does not wait.
    pub fn commit(&self, partition: &Partition, offset: i64) {
        let consumer = self.client().consumer.clone();
        if !consumer.context().lock().assigned.contains(partition) {
            return;
        }
        let mut place = TopicPartitionList::with_capacity(1);
        let Partition { topic, number } = partition;
        let placed = place.add_partition_offset(topic, *number, Offset::Offset(offset));
        if let Err(error) = placed.and_then(|()| consumer.commit(&place, CommitMode::Async)) {
            debug!(split = %partition.split(), %error, "could not commit an offset");
        }
    }

    /// The client; another one if the group put it out.
    fn living(&self) -> Result<MutexGuard<'_, Client>> {
        let mut client = self.client();
        let refusal = client.consumer.context().lock().refusal.clone();
        if let Some(refusal) = refusal {
            self.come_back(&mut client, refusal)?;
        }
        Ok(client)
    }

    /// Joins again. No other process has our name unless somebody gave it to both: what put us out
    /// was a request of our own to join, which a bad network delivered behind a later one.
    fn come_back(&self, client: &mut Client, refusal: Refusal) -> Result<()> {
        client.put_out.retain(|at| at.elapsed() < RIVAL_WITHIN);
        let is_ours = self.connection.property(INSTANCE).is_none();
        if !refusal.is_fenced || !is_ours || client.put_out.len() >= RETURNS_MAX {
            return Err(Error::external("the consumer group put this process out")
                .because(refusal.reason)
                .hint("each process needs a `group.instance.id` of its own in `client`"));
        }
        info!(group = self.group, "joins the consumer group again");
        // The old client stays as it is until there is a new one: a try that fails is made again.
        let mut new = Client::join(&self.connection, &self.group, &self.name)?;
        new.subscribe(client.topics.clone())?;
        new.before = client.proposed();
        new.put_out = std::mem::take(&mut client.put_out);
        new.put_out.push(Instant::now());
        *client = new;
        Ok(())
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn join(connection: &Connection, group: &str, name: &str) -> Result<Self> {
        let mut config = connection.config(&[("group.id", group)]);
        for (name, value) in PROPOSING {
            if connection.property(name).is_none() {
                config.set(*name, *value);
            }
        }
        if connection.property(INSTANCE).is_none() {
            config.set(INSTANCE, instance(name));
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
        let (topics, before, put_out) = Default::default();
        Ok(Self { consumer, topics, _stop: Stop(stop), before, put_out })
    }

    fn subscribe(&mut self, topics: Vec<String>) -> Result<()> {
        if self.topics == topics {
            return Ok(());
        }
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        let subscribed = self.consumer.subscribe(&names);
        subscribed.map_err(|error| failed(error, "could not subscribe to topics"))?;
        self.topics = topics;
        Ok(())
    }

    fn proposed(&self) -> BTreeSet<Partition> {
        let state = self.consumer.context().lock();
        let waits = self.put_out.last().is_some_and(|at| at.elapsed() < PROPOSED_WITHIN);
        match state.is_proposed || !waits {
            true => state.assigned.clone(),
            false => self.before.clone(),
        }
    }
}

/// Ends the thread that serves the group, when its client goes.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
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
pub fn instance(name: &str) -> String {
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
    /// Whether the group has proposed anything yet.
    is_proposed: bool,
    refusal: Option<Refusal>,
}

/// Why the group does not want this client any more.
#[derive(Clone)]
struct Refusal {
    reason: String,
    /// Another client came under the same name.
    is_fenced: bool,
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
            let is_fenced = error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId);
            self.lock().refusal = Some(Refusal { reason: error.to_string(), is_fenced });
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
        let mut state = self.lock();
        state.assigned.extend(new);
        state.is_proposed = true;
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
