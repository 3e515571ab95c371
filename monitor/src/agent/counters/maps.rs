//! How full the maps of the kernel programs are, and what they take.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;
use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapInfo, MapType},
};
use monitor_common::{
    count::Connection,
    identity::{FileEntry, FileKey, Mount},
    limit::SenderKey,
    policy::WorkloadSet,
};

use crate::{kernel::load::Kernel, metrics::snapshot};

/// All maps that the programs of the kernel object use.
pub(super) struct Maps {
    maps: Vec<Known>,
}

struct Known {
    name: Arc<str>,
    data: MapData,
    count: Option<Count>,
    /// Entries, as they were last counted.
    entries: AtomicU64,
}

/// Counts the entries of a map, up to so many.
type Count = fn(&MapData, usize) -> Option<u64>;

/// Maps whose entries are counted by walking through them. Of the larger ones somebody else keeps the number.
const COUNTED: [(&str, MapType, Count); 7] = [
    ("FILES", MapType::Hash, |data, most| entries::<FileKey, FileEntry>(data, Map::HashMap, most)),
    ("MOUNTS", MapType::Hash, |data, most| entries::<FileKey, Mount>(data, Map::HashMap, most)),
    ("CGROUPS", MapType::Hash, |data, most| entries::<u64, WorkloadSet>(data, Map::HashMap, most)),
    ("LISTENERS", MapType::Hash, |data, most| entries::<u32, Connection>(data, Map::HashMap, most)),
    ("CONNECTIONS", MapType::Hash, |data, most| entries::<u64, Connection>(data, Map::HashMap, most)),
    ("ATTEMPTS", MapType::LruHash, |data, most| entries::<u64, Connection>(data, Map::LruHashMap, most)),
    ("REFUSED", MapType::LruHash, |data, most| entries::<SenderKey, u64>(data, Map::LruHashMap, most)),
];

impl Maps {
    /// Those of the programs that are loaded. Where the kernel doesn't tell, the agent does without.
    pub fn new(kernel: &Kernel) -> Self {
        Self::find(kernel).unwrap_or_else(|error| {
            tracing::warn!("nothing is known of how full the kernel's maps are: {error:#}");
            Self { maps: Vec::new() }
        })
    }

    fn find(kernel: &Kernel) -> Result<Self> {
        let mut ids = BTreeSet::new();
        for (_, program) in kernel.programs() {
            ids.extend(program.info()?.map_ids()?.unwrap_or_default());
        }
        let mut maps = BTreeMap::new();
        for id in ids {
            let info = MapInfo::from_id(id)?;
            // Read-only data of the object bears the name of a section, or none.
            let Some(name) = info.name_as_str().filter(|name| name.bytes().all(is_letter)) else { continue };
            let kind = info.map_type()?;
            let counted = COUNTED.iter().find(|(counted, of, _)| *counted == name && *of == kind);
            let known = Known {
                name: name.into(),
                data: MapData::from_id(id)?,
                count: counted.map(|(_, _, count)| *count),
                entries: AtomicU64::new(0),
            };
            maps.insert(name.to_owned(), known);
        }
        Ok(Self { maps: maps.into_values().collect() })
    }

    /// Counts anew what takes a walk.
    pub fn count(&self) {
        for map in &self.maps {
            let [most] = map.numbers(&["max_entries"]);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if let Some(entries) = map.count.and_then(|count| count(&map.data, most)) {
                map.entries.store(entries, Relaxed);
            }
        }
    }

    /// The maps as they were last counted.
    pub fn read(&self) -> impl Iterator<Item = snapshot::Map> {
        self.maps.iter().map(|map| {
            let [capacity, bytes] = map.numbers(&["max_entries", "memlock"]);
            let entries = map.count.map(|_| map.entries.load(Relaxed));
            snapshot::Map { name: Arc::clone(&map.name), entries, capacity, bytes }
        })
    }
}

impl Known {
    /// Numbers that the kernel tells of the map; 0 where it doesn't.
    fn numbers<const N: usize>(&self, keys: &[&str; N]) -> [u64; N] {
        super::fd_info(self.data.fd().as_fd().as_raw_fd(), keys)
    }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}

fn entries<K: Pod, V: Pod>(data: &MapData, kind: fn(MapData) -> Map, most: usize) -> Option<u64> {
    let fd = data.fd().as_fd().try_clone_to_owned().ok()?;
    let map: HashMap<MapData, K, V> = kind(MapData::from_fd(fd).ok()?).try_into().ok()?;
    // In a map that changes meanwhile the walk may begin anew.
    Some(map.keys().take(most).flatten().count() as u64)
}
