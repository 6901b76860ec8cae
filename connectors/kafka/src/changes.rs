//! What the sink does when somebody else changes what it writes to. `check` prints it, and the
//! table of the README is made of it.

use contract::spec::Change;

/// In the order of the README.
pub const CHANGES: &[Change] = &[
    Change {
        when: "the topic is deleted and made anew while we run",
        then: "its id is another one: the run stops before the next epoch is decided. \
               The next start finds no token where there was one, and says the ways to \
               go on",
    },
    Change {
        when: "the same while we do not run",
        then: "no token where there was one: exit code 2 and the ways to go on. Where \
               the token lies in another topic (`token_topic`), or there is none \
               (`transactional: false`), the run goes on; the other id is told, in the \
               log, the summary and by `audit`, with the epochs whose records went into \
               the old topic. Brokers before 2.8 give no ids",
    },
    Change {
        when: "it gets more partitions",
        then: "rows without a key may go there with the next start",
    },
    Change {
        when: "retention, compaction or a person removes records",
        then: "nothing is written again; `audit` names the rows",
    },
    Change {
        when: "`max.message.bytes` or `cleanup.policy` changes",
        then: "what a row is to blame for is a dead letter; else the run stops and says \
               what to change",
    },
];
