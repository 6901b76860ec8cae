//! Remembers where addresses of version 4 are, and reads them.
//!
//! A table of fixed size: each address has one slot, which the last address of the slot keeps. An
//! address that lost its slot is looked up again, so that what comes out never depends on it. The
//! more tables there are already, the smaller is the next: each reader has one.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Slots, as a power of two: more than the visitors of a busy site in an hour, in 1 MiB.
const SLOTS_BITS: u32 = 17;
/// Slots of the smallest table.
const SLOTS_BITS_MIN: u32 = 10;

/// Tables that are alive.
static TABLES: AtomicUsize = AtomicUsize::new(0);

/// What was found for addresses, as numbers from 0.
pub struct Addresses {
    slots: Vec<Slot>,
    bits: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    address: u32,
    /// One more than the number; 0 where the slot is empty.
    found: u32,
}

impl Addresses {
    /// A table that knows nothing.
    pub fn new() -> Self {
        Self::beside(TABLES.fetch_add(1, Ordering::Relaxed))
    }

    /// A table where there are so many others.
    fn beside(others: usize) -> Self {
        let bits = SLOTS_BITS.saturating_sub((others + 1).ilog2()).max(SLOTS_BITS_MIN);
        Self { slots: vec![Slot { address: 0, found: 0 }; 1 << bits], bits }
    }

    /// What was found for an address, if it has its slot.
    #[inline]
    pub fn get(&self, address: Ipv4Addr) -> Option<u32> {
        let address = address.to_bits();
        let slot = self.slots[self.slot(address)];
        if slot.address == address { slot.found.checked_sub(1) } else { None }
    }

    /// Gives an address its slot.
    pub fn insert(&mut self, address: Ipv4Addr, found: u32) {
        let address = address.to_bits();
        let slot = self.slot(address);
        self.slots[slot] = Slot { address, found: found + 1 };
    }

    /// By Fibonacci's multiplication: neighbours get slots apart.
    #[inline]
    fn slot(&self, address: u32) -> usize {
        (address.wrapping_mul(0x9E37_79B9) >> (u32::BITS - self.bits)) as usize
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        TABLES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An address as logs write it: four numbers without a leading zero. None for anything else, such
/// as version 6 or a name.
#[inline]
pub fn version_4(text: &str) -> Option<Ipv4Addr> {
    let (mut address, mut number, mut digits, mut dots) = (0_u32, 0_u32, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits < 3 && (digits == 0 || number > 0) => {
                number = number * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && number <= 255 && dots < 3 => {
                address = address << 8 | number;
                (number, digits) = (0, 0);
                dots += 1;
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0 && number <= 255).then(|| Ipv4Addr::from_bits(address << 8 | number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        let parts = ["", "0", "00", "01", "7", "42", "255", "256", "999", "1000", "a", "-1", " 1"];
        for first in parts {
            for last in parts {
                for text in [
                    format!("{first}.1.2.{last}"),
                    format!("9.{first}.{last}.4"),
                    format!("{first}.{last}"),
                    format!("1.2.{first}.3.{last}"),
                ] {
                    assert_eq!(version_4(&text), text.parse().ok(), "{text}");
                }
            }
        }
        assert_eq!(version_4("::1"), None);
    }

    #[test]
    fn hundreds_of_tables_take_little_more_than_a_few() {
        let bytes = |tables: usize| -> usize {
            (0..tables).map(|others| size_of::<Slot>() << Addresses::beside(others).bits).sum()
        };
        assert_eq!(bytes(1), 1 << 20);
        assert!(bytes(300) < 16 << 20, "{}", bytes(300));
    }

    #[test]
    fn an_address_that_lost_its_slot_is_not_known() {
        let mut addresses = Addresses::beside(0);
        let all = (0..1 << (SLOTS_BITS + 1)).map(|number: u32| Ipv4Addr::from_bits(number * 77));
        for (number, address) in all.clone().enumerate() {
            assert_eq!(addresses.get(address), None);
            addresses.insert(address, number as u32);
            assert_eq!(addresses.get(address), Some(number as u32));
        }
        let known = all.enumerate().filter_map(|(number, address)| {
            let found = addresses.get(address)?;
            assert_eq!(found, number as u32);
            Some(found)
        });
        assert!(known.count() <= 1 << SLOTS_BITS);
    }
}
