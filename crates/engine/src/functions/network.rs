//! `ip_in(ip, network)`, `ip_mask(ip, bits)` and `ip_only(text)`, for both address families.
//!
//! They take what [`address::read`] takes: ports and zones may stand with the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;

use super::{Definition, Kind, Parameters, Prepared, invalid, text, value};
use crate::address;

pub(super) const IP_IN: Definition = Definition {
    name: "ip_in",
    parameters: Parameters::Fixed {
        list: &[("ip", Kind::Text), ("network", Kind::Text)],
        required: 2,
    },
    returns: DataType::Boolean,
    checked: Some((1, |network| Network::read(network).map(drop))),
    evaluate: ip_in,
};

pub(super) const IP_MASK: Definition = Definition {
    name: "ip_mask",
    parameters: Parameters::Fixed {
        list: &[("ip", Kind::Text), ("bits", Kind::Integer)],
        required: 2,
    },
    returns: DataType::Utf8View,
    checked: None,
    evaluate: ip_mask,
};

pub(super) const IP_ONLY: Definition = Definition {
    name: "ip_only",
    parameters: Parameters::Fixed { list: &[("text", Kind::Text)], required: 1 },
    returns: DataType::Utf8View,
    checked: None,
    evaluate: ip_only,
};

/// The bits of the longest address.
const BITS_MAX: u32 = 128;

/// An address range such as `10.0.0.0/8`; a lone address is a range of one.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn read(text: &str) -> Result<Self> {
        let wrong = || invalid(format!("{text:?} is no network, expected one such as 10.0.0.0/8"));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let width = width(address);
        let bits = match bits {
            Some(bits) => bits.trim().parse().ok().filter(|bits| *bits <= width),
            None => Some(width),
        };
        let bits: u32 = bits.ok_or_else(wrong)?;
        // A network of mapped addresses is one of version 4.
        let (address, bits) = match (address, address.to_canonical(), bits.checked_sub(96)) {
            (IpAddr::V6(_), IpAddr::V4(mapped), Some(bits)) => (IpAddr::V4(mapped), bits),
            (address, _, _) => (address, bits),
        };
        Ok(Self { address: mask(address, bits), bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        width(address) == width(self.address) && mask(address, self.bits) == self.address
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all but its first `bits` set to zero.
fn mask(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & kept))
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & kept))
        }
    }
}

fn ip_in(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let (addresses, networks) = (text(arguments, 0), text(arguments, 1));
    let mut prepared = Prepared::new();
    let mut answers = BooleanBuilder::with_capacity(rows);
    for row in 0..rows {
        let Some(network) = value(networks, row) else {
            answers.append_null();
            continue;
        };
        let network = prepared.get(network, Network::read)?;
        let address = value(addresses, row).and_then(address::read);
        answers.append_option(address.map(|address| network.contains(address)));
    }
    Ok(Arc::new(answers.finish()))
}

/// Keeps the first bits of an address, of either family, and sets the others to zero.
fn ip_mask(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let addresses = text(arguments, 0);
    let bits = arguments[1].as_primitive::<Int64Type>();
    let mut masked = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let address = value(addresses, row).and_then(address::read);
        let (Some(address), true) = (address, bits.is_valid(row)) else {
            masked.append_null();
            continue;
        };
        let bits =
            u32::try_from(bits.value(row)).ok().filter(|bits| *bits <= BITS_MAX).ok_or_else(
                || invalid(format!("cannot keep {} bits of an address", bits.value(row))),
            )?;
        masked.append_value(mask(address, bits).to_string());
    }
    Ok(Arc::new(masked.finish()))
}

/// The address alone, without its port, zone and brackets.
fn ip_only(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let texts = text(arguments, 0);
    let mut addresses = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let address = value(texts, row).and_then(address::read);
        addresses.append_option(address.map(|address| address.to_string()));
    }
    Ok(Arc::new(addresses.finish()))
}
