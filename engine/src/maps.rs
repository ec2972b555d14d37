//! Maps by the names that a plan gives to things. Whoever wrote the plan chose them, and nobody gains by making them collide: so they are
//! hashed fast, and not against an attacker.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// By name, in no order.
pub type NameMap<K, V> = HashMap<K, V, RandomState>;

/// Names, in no order.
pub type NameSet<K> = HashSet<K, RandomState>;

/// By name, in the order in which the names came.
pub type OrderedMap<K, V> = IndexMap<K, V, RandomState>;
