//! The columns of places: what the databases say of a batch's addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray};
use contract::Result;
use contract::error::Context;
use datafusion::common::HashMap;

use super::addresses::{Addresses, version_4};
use super::geoip::{Databases, Location, RecordId};
use super::words::{Word, Words};
use crate::address;

/// Decoded records, of which a database of cities has some ten thousand. More are there only until
/// the batch ends that has them.
const PLACES_MAX: usize = 1 << 17;

/// Where an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    country: Word,
    city: Word,
}

/// The number of the place of addresses that no database knows.
const UNKNOWN: u32 = 0;

/// Adds the two columns to batches.
pub struct Worker {
    databases: Arc<Databases>,
    known: Known,
}

/// What a worker remembers. Numbers are places in `places`.
struct Known {
    addresses: Addresses,
    /// Many networks share a record, and decoding one costs more than finding it.
    records: HashMap<RecordId, u32>,
    places: Vec<Place>,
    countries: Words,
    cities: Words,
}

impl Worker {
    /// A worker that has seen no address yet.
    pub fn new(databases: Arc<Databases>) -> Self {
        Self { databases, known: Known::nothing() }
    }

    /// `country`, `city`.
    ///
    /// # Errors
    /// Config: a database is damaged.
    pub fn columns(&mut self, texts: &StringViewArray) -> Result<Vec<ArrayRef>> {
        if self.known.places.len() >= PLACES_MAX {
            self.known = Known::nothing();
        }
        // Read first and looked up then: the processor waits for many slots at once.
        let addresses: Vec<_> = texts.iter().map(|text| version_4(text.unwrap_or(""))).collect();
        let mut rows = Vec::with_capacity(addresses.len());
        for (row, address) in addresses.into_iter().enumerate() {
            let known = address.and_then(|address| self.known.addresses.get(address));
            let place = match (known, address) {
                (Some(place), _) => place,
                (None, Some(address)) => self.learn(address)?,
                (None, None) if texts.is_null(row) => UNKNOWN,
                (None, None) => self.other(texts.value(row))?,
            };
            rows.push(self.known.places[place as usize]);
        }
        Ok(vec![
            self.known.countries.column(rows.iter().map(|place| place.country))?,
            self.known.cities.column(rows.iter().map(|place| place.city))?,
        ])
    }

    fn learn(&mut self, address: Ipv4Addr) -> Result<u32> {
        let place = self.find(address.into())?;
        self.known.addresses.insert(address, place);
        Ok(place)
    }

    /// The place of an address of version 6, of one with a port, or of what is none.
    fn other(&mut self, text: &str) -> Result<u32> {
        match address::read(text) {
            Some(IpAddr::V4(address)) => match self.known.addresses.get(address) {
                Some(place) => Ok(place),
                None => self.learn(address),
            },
            Some(address) => self.find(address),
            None => Ok(UNKNOWN),
        }
    }

    fn find(&mut self, address: IpAddr) -> Result<u32> {
        let Some(record) = self.databases.find(address)? else { return Ok(UNKNOWN) };
        if let Some(place) = self.known.records.get(&record.id()) {
            return Ok(*place);
        }
        let place = self.known.place(&record.decode()?)?;
        self.known.records.insert(record.id(), place);
        Ok(place)
    }
}

impl Known {
    fn nothing() -> Self {
        Self {
            addresses: Addresses::new(),
            records: HashMap::new(),
            places: vec![Place { country: Word::NONE, city: Word::NONE }],
            countries: Words::default(),
            cities: Words::default(),
        }
    }

    fn place(&mut self, location: &Location) -> Result<u32> {
        let place = Place {
            country: self.countries.number(location.country.as_deref())?,
            city: self.cities.number(location.city.as_deref())?,
        };
        self.places.push(place);
        u32::try_from(self.places.len() - 1).bug("there are too many places")
    }
}
