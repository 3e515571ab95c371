//! Where control groups lie, by their ids.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Place, Text},
    host::placement::Placement,
};

/// Groups that are remembered at most. With the longest path that the kernel tells of (4,096 bytes) they take some 20 MB;
/// usual ones take less than 1 MB.
const MOST: usize = 4096;

/// Remembers where groups lie.
///
/// What is remembered stays true: until the next boot an id is given to no other group, and a group of the v2 tree can't be
/// renamed or moved. It also outlives the group, so that the last events from inside a group can be completed.
#[derive(Default)]
pub(super) struct Places {
    known: HashMap<u64, Arc<Place>>,
}

impl Places {
    /// The place of a group, asking `path_of` if it isn't remembered; none if that finds nothing.
    pub fn of(&mut self, id: u64, path_of: impl FnOnce(u64) -> Option<Vec<u8>>) -> Option<Arc<Place>> {
        if let Some(place) = self.known.get(&id) {
            return Some(Arc::clone(place));
        }
        // A miss isn't remembered: no process can enter a group that is gone, so few events ask for it again.
        let path = path_of(id)?;
        let place = Arc::new(Place { placement: Placement::of(&path), path: Text::new(path) });
        // Those in use come back at the price of one look each.
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(id, Arc::clone(&place));
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_asked_for_once_and_remembered_when_it_is_gone() {
        let mut places = Places::default();
        assert_eq!(places.of(7, |_| None), None);
        let path = b"/system.slice/api.service/x\n".to_vec();
        let place = places.of(7, |_| Some(path.clone())).unwrap();
        assert_eq!(place.path, Text::new(path));
        assert_eq!(place.placement.unit.as_deref(), Some("api.service"));
        let again = places.of(7, |_| panic!("asked again")).unwrap();
        assert!(Arc::ptr_eq(&place, &again));
    }

    #[test]
    fn no_more_than_the_limit_are_remembered() {
        let mut places = Places::default();
        for id in 0..3 * MOST as u64 + 1 {
            let path = format!("/{id}");
            assert_eq!(places.of(id, |id| Some(format!("/{id}").into())).unwrap().path, Text::from(&*path));
            assert!(places.known.len() <= MOST);
        }
    }
}
