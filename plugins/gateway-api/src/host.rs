//! What the host can do that not every one can: its capabilities, as far as they concern Gateways.

use sekisho_sdk::Environment;
use sekisho_sdk::model::Address;

/// It has an address of its own for every Gateway.
const ADDRESS_POOL: &str = "address-pool";
/// It keeps in the cluster what a binding asks for.
const INFRASTRUCTURE: &str = "infrastructure";

#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pool: bool,
    infrastructure: bool,
}

impl Host {
    pub(crate) fn of(environment: &Environment) -> Self {
        let has = |name: &str| environment.capabilities.iter().any(|capability| capability == name);
        Self { pool: has(ADDRESS_POOL), infrastructure: has(INFRASTRUCTURE) }
    }

    /// Where a Gateway listens that asks for no address.
    pub(crate) fn unasked(self) -> Address {
        if self.pool { Address::Dedicated(Vec::new()) } else { Address::Shared }
    }

    /// Whether something is kept for a Gateway at this address. Without a pool, one that does not say which shares the
    /// gateway's own.
    pub(crate) fn keeps_for(self, address: &Address) -> bool {
        let own = match address {
            Address::Dedicated(wanted) => self.pool || !wanted.is_empty(),
            _ => false,
        };
        self.infrastructure && own
    }

    /// Whether something is kept for every Gateway, whatever it asks for.
    pub(crate) fn keeps_for_all(self) -> bool {
        self.infrastructure && self.pool
    }
}
