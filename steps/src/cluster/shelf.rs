//! The objects of one kind and namespace as last seen, and who is to be woken by a change of which. Pure: no clock, no requests.
//!
//! A reader that looks at something is from then on woken by every change of it, and by no other: reading and wanting are one
//! operation, so that no change can fall between them. A thousand waits on a thousand pods cost one look for each change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use super::Selector;
use super::kept::Kept;
use crate::failure::Failure;

/// Namespace (empty where there is none) and name.
pub(super) type Key = (String, String);

/// Number of a reader.
pub(super) type Id = u64;

/// What a look finds: nothing yet, or what there is, or why it cannot be seen.
pub(super) type Seen<T> = Option<Result<T, Failure>>;

/// The objects and their readers.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    objects: BTreeMap<Key, Kept>,
    /// Objects by what they belong to (see [`Kept::relations`]).
    kin: HashMap<String, BTreeSet<Key>>,
    extent: Extent,
    trouble: Option<Failure>,
    readers: HashMap<Id, Reader>,
    by_name: HashMap<Key, BTreeSet<Id>>,
    by_relation: HashMap<String, BTreeSet<Id>>,
    /// Those that look at all objects, or at selected ones.
    broad: BTreeSet<Id>,
    last: Id,
}

/// How much of the cluster's objects is here.
#[derive(Debug, Default)]
enum Extent {
    /// Nothing was heard yet.
    #[default]
    Nothing,
    /// All: what is not here is not there.
    All,
    /// Listing is forbidden: only those asked for by name, each with how that went.
    Single { forbidden: Failure, asked: HashMap<Key, Result<(), Failure>> },
}

#[derive(Debug)]
struct Reader {
    bell: Arc<Notify>,
    /// Whether something changed that it has looked at.
    rung: bool,
    names: BTreeSet<Key>,
    relations: BTreeSet<String>,
    selectors: Vec<Selector>,
    all: bool,
    /// States of named objects that came and went since the reader looked last.
    passed: Vec<(Key, Arc<Value>)>,
}

/// So many states at most are remembered for a reader that does not look.
const MOST_PASSED: usize = 16;

impl Shelf {
    /// A new reader, who will be woken by that bell.
    pub(super) fn join(&mut self, bell: Arc<Notify>) -> Id {
        self.last += 1;
        let (names, relations) = (BTreeSet::new(), BTreeSet::new());
        let reader =
            Reader { bell, rung: false, names, relations, selectors: Vec::new(), all: false, passed: Vec::new() };
        self.readers.insert(self.last, reader);
        self.last
    }

    pub(super) fn leave(&mut self, id: Id) {
        self.begin(id);
        self.readers.remove(&id);
    }

    /// Whether anything was heard of the cluster's objects.
    pub(super) fn has_state(&self) -> bool {
        !matches!(self.extent, Extent::Nothing)
    }

    /// Whether there is a state, or a reason why there is none.
    pub(super) fn has_been_heard(&self) -> bool {
        self.has_state() || self.trouble.is_some()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.readers.is_empty()
    }

    /// Starts another look: what the reader wanted before is forgotten.
    pub(super) fn begin(&mut self, id: Id) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.rung = false;
        reader.all = false;
        reader.selectors.clear();
        for key in std::mem::take(&mut reader.names) {
            unindex(&mut self.by_name, &key, id);
        }
        for relation in std::mem::take(&mut reader.relations) {
            unindex(&mut self.by_relation, &relation, id);
        }
        self.broad.remove(&id);
    }

    /// The states of an object that came and went before the reader could look. They are told once.
    pub(super) fn passed(&mut self, id: Id, key: &Key) -> Vec<Arc<Value>> {
        let Some(reader) = self.readers.get_mut(&id) else { return Vec::new() };
        reader.passed.extract_if(.., |(passed, _)| passed == key).map(|(_, object)| object).collect()
    }

    /// Whether something changed that the reader has looked at.
    pub(super) fn has_changed(&self, id: Id) -> bool {
        self.readers.get(&id).is_some_and(|reader| reader.rung)
    }

    /// What stands in the way of seeing more, if anything does now.
    pub(super) fn trouble(&self) -> Option<&Failure> {
        self.trouble.as_ref()
    }

    /// One object.
    pub(super) fn named(&mut self, id: Id, key: &Key) -> Seen<Option<Arc<Value>>> {
        if let Some(reader) = self.readers.get_mut(&id)
            && reader.names.insert(key.clone())
        {
            self.by_name.entry(key.clone()).or_default().insert(id);
        }
        match &self.extent {
            Extent::Nothing => self.trouble.clone().map(Err),
            Extent::All => Some(Ok(self.objects.get(key).map(Kept::read))),
            Extent::Single { asked, .. } => {
                asked.get(key).map(|it| it.clone().map(|()| self.objects.get(key).map(Kept::read)))
            }
        }
    }

    /// All objects, or those selected.
    pub(super) fn selected(&mut self, id: Id, selector: Option<&Selector>) -> Seen<Vec<Arc<Value>>> {
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.all |= selector.is_none();
            reader.selectors.extend(selector.cloned());
            self.broad.insert(id);
        }
        let whole = self.whole()?;
        let chosen = self.objects.values_mut().filter(|kept| selector.is_none_or(|it| kept.is_selected(it)));
        Some(whole.map(|()| chosen.map(Kept::open).collect()))
    }

    /// The objects that belong to one of these (see [`Kept::relations`]).
    pub(super) fn related(&mut self, id: Id, to: &[String]) -> Seen<Vec<Arc<Value>>> {
        if let Some(reader) = self.readers.get_mut(&id) {
            for relation in to.iter().filter(|it| !reader.relations.contains(*it)) {
                self.by_relation.entry(relation.clone()).or_default().insert(id);
            }
            reader.relations.extend(to.iter().cloned());
        }
        let keys: BTreeSet<&Key> = to.iter().filter_map(|relation| self.kin.get(relation)).flatten().collect();
        let found = keys.into_iter().filter_map(|key| self.objects.get(key)).map(Kept::read);
        self.whole().map(|all| all.map(|()| found.collect()))
    }

    /// Whether all objects are here.
    fn whole(&self) -> Seen<()> {
        match &self.extent {
            Extent::Nothing => self.trouble.clone().map(Err),
            Extent::All => Some(Ok(())),
            Extent::Single { forbidden, .. } => Some(Err(forbidden.clone())),
        }
    }

    /// The names that are looked at; only those never asked for, if `new`.
    pub(super) fn wanted_names(&self, new: bool) -> Vec<Key> {
        let asked = |key: &Key| matches!(&self.extent, Extent::Single { asked, .. } if asked.contains_key(key));
        self.by_name.keys().filter(|key| !new || !asked(key)).cloned().collect()
    }

    /// All objects as they are now.
    pub(super) fn replace(&mut self, objects: Vec<Kept>) {
        if matches!(self.extent, Extent::Nothing) && self.trouble.is_none() {
            return self.fill(objects);
        }
        let mut gone: BTreeSet<Key> = self.objects.keys().cloned().collect();
        for object in objects {
            gone.remove(object.key());
            self.put(object);
        }
        gone.iter().for_each(|key| self.remove(key));
        let news = !matches!(self.extent, Extent::All) || self.trouble.is_some();
        (self.extent, self.trouble) = (Extent::All, None);
        if news {
            self.ring_all();
        }
    }

    /// The first list. Nobody has seen anything yet that could have changed: readers are told that they may look, no more.
    fn fill(&mut self, objects: Vec<Kept>) {
        for object in objects {
            self.keep(object);
        }
        self.extent = Extent::All;
        self.readers.values().for_each(|reader| reader.bell.notify_one());
    }

    /// One object as it is now.
    pub(super) fn put(&mut self, object: Kept) {
        let (key, before, same) = self.keep(object);
        if !same {
            self.ring(&key, before.as_ref());
        }
    }

    /// Takes an object in. What was there before, and whether it is the same.
    fn keep(&mut self, object: Kept) -> (Key, Option<Kept>, bool) {
        let key = object.key().clone();
        let before = self.objects.remove(&key);
        let now = object.after(before.as_ref());
        let same = before.as_ref().is_some_and(|before| before.is_same(&now));
        if let Some(before) = &before {
            self.cut_ties(&key, before);
        }
        for relation in now.relations() {
            self.kin.entry(relation.clone()).or_default().insert(key.clone());
        }
        self.objects.insert(key.clone(), now);
        (key, before, same)
    }

    /// One object that is gone.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(before) = self.objects.remove(key) else { return };
        self.cut_ties(key, &before);
        self.ring(key, Some(&before));
    }

    fn cut_ties(&mut self, key: &Key, before: &Kept) {
        for relation in before.relations() {
            if let Some(keys) = self.kin.get_mut(relation) {
                keys.remove(key);
                if keys.is_empty() {
                    self.kin.remove(relation);
                }
            }
        }
    }

    /// The server answers again.
    pub(super) fn recover(&mut self) {
        if self.trouble.take().is_some() {
            self.ring_all();
        }
    }

    /// Something stands in the way.
    pub(super) fn fail(&mut self, failure: Failure) {
        let known = self.trouble.as_ref().is_some_and(|it| it.what == failure.what);
        self.trouble = Some(failure);
        if !known {
            self.ring_all();
        }
    }

    /// Listing is forbidden: from now on objects come one by one.
    pub(super) fn only_singly(&mut self, failure: Failure) {
        if !matches!(self.extent, Extent::Single { .. }) {
            self.extent = Extent::Single { forbidden: failure, asked: HashMap::new() };
            self.ring_all();
        }
    }

    /// The answer about one object. Trouble is told, and leaves what was known.
    pub(super) fn answered(&mut self, key: &Key, answer: Result<Option<Kept>, Failure>) {
        let Extent::Single { asked, .. } = &mut self.extent else { return };
        let verdict = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        let known = asked.get(key) == Some(&Ok(()));
        if !known || verdict.is_ok() {
            asked.insert(key.clone(), verdict);
        }
        match answer {
            Ok(found) => {
                self.recover();
                match found {
                    Some(object) => self.put(object),
                    None => self.remove(key),
                }
            }
            Err(failure) if known => self.fail(failure),
            Err(_) => {}
        }
        if !known {
            self.ring(key, None);
        }
    }

    /// Wakes those that look at an object, by what it was or by what it is.
    fn ring(&mut self, key: &Key, before: Option<&Kept>) {
        self.remember(key, before);
        let states: Vec<&Kept> = before.into_iter().chain(self.objects.get(key)).collect();
        let mut woken: BTreeSet<Id> = self.by_name.get(key).into_iter().flatten().copied().collect();
        for relation in states.iter().flat_map(|state| state.relations()) {
            woken.extend(self.by_relation.get(relation).into_iter().flatten());
        }
        let selects = |reader: &Reader| {
            let any = |selector: &Selector| states.iter().any(|state| state.is_selected(selector));
            reader.all || reader.selectors.iter().any(any)
        };
        woken.extend(self.broad.iter().filter(|id| self.readers.get(id).is_some_and(selects)));
        for id in woken {
            if let Some(reader) = self.readers.get_mut(&id) {
                reader.ring();
            }
        }
    }

    /// What a reader was told of, but has not looked at, must not be lost when the next state comes: a job may be complete for an
    /// instant before it is deleted.
    fn remember(&mut self, key: &Key, before: Option<&Kept>) {
        let Some(before) = before else { return };
        for id in self.by_name.get(key).into_iter().flatten() {
            let Some(reader) = self.readers.get_mut(id).filter(|reader| reader.rung) else { continue };
            if reader.passed.len() < MOST_PASSED {
                reader.passed.push((key.clone(), before.read()));
            }
        }
    }

    fn ring_all(&mut self) {
        self.readers.values_mut().for_each(Reader::ring);
    }
}

impl Reader {
    fn ring(&mut self) {
        self.rung = true;
        self.bell.notify_one();
    }
}

fn unindex<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<Id>>, key: &K, id: Id) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::name_of;
    use super::*;
    use serde_json::json;

    fn thing(name: &str, version: &str, owner: &str) -> Kept {
        Kept::new(&raw(name, version, owner))
    }

    fn raw(name: &str, version: &str, owner: &str) -> Value {
        json!({ "kind": "Thing", "metadata": {
            "name": name, "namespace": "a", "resourceVersion": version, "labels": { "app": name },
            "ownerReferences": [{ "uid": owner }] } })
    }

    fn key(name: &str) -> Key {
        ("a".to_owned(), name.to_owned())
    }

    fn listed(objects: Vec<Kept>) -> (Shelf, Id) {
        let mut shelf = Shelf::default();
        shelf.replace(objects);
        let id = shelf.join(Arc::default());
        (shelf, id)
    }

    #[test]
    fn only_who_looks_at_an_object_is_woken_by_it() {
        let (mut shelf, one) = listed(vec![thing("x", "1", "o"), thing("y", "1", "o")]);
        let other = shelf.join(Arc::default());
        shelf.named(one, &key("x")).expect("listed").expect("there");
        shelf.named(other, &key("y")).expect("listed").expect("there");
        shelf.put(thing("x", "2", "o"));
        assert_eq!((shelf.has_changed(one), shelf.has_changed(other)), (true, false));
    }

    #[test]
    fn what_was_looked_at_before_wakes_no_more() {
        let (mut shelf, id) = listed(vec![thing("x", "1", "o")]);
        shelf.named(id, &key("x")).expect("listed").expect("there");
        shelf.related(id, &["o".to_owned()]).expect("listed").expect("there");
        shelf.begin(id);
        shelf.put(thing("x", "2", "o"));
        assert!(!shelf.has_changed(id));
        assert!(shelf.by_name.is_empty() && shelf.by_relation.is_empty());
    }

    #[test]
    fn an_object_that_enters_or_leaves_a_selection_wakes() {
        let (mut shelf, id) = listed(vec![thing("x", "1", "o")]);
        let selector = Selector::read("app=x").expect("a selector");
        for change in [json!("y"), json!("x")] {
            shelf.begin(id);
            shelf.selected(id, Some(&selector)).expect("listed").expect("there");
            shelf.put(thing("z", change.as_str().unwrap(), "o"));
            assert!(!shelf.has_changed(id), "a stranger changed");
            let mut object = raw("x", change.as_str().unwrap(), "o");
            object["metadata"]["labels"]["app"] = change;
            shelf.put(Kept::new(&object));
            assert!(shelf.has_changed(id));
        }
    }

    #[test]
    fn kin_are_found_by_their_owner_and_events_by_what_they_are_about() {
        let event = json!({ "kind": "Event", "metadata": { "name": "e", "namespace": "a", "resourceVersion": "5" },
                            "involvedObject": { "kind": "Pod", "name": "p" } });
        let (mut shelf, id) = listed(vec![thing("x", "1", "o"), thing("y", "1", "other"), Kept::new(&event)]);
        let names = |shelf: &mut Shelf, to: &str| -> Vec<String> {
            let found = shelf.related(id, &[to.to_owned()]).expect("listed").expect("allowed");
            found.iter().map(|it| name_of(it).to_owned()).collect()
        };
        assert_eq!(names(&mut shelf, "o"), ["x"]);
        assert_eq!(names(&mut shelf, "Pod/p"), ["e"]);
        shelf.put(thing("y", "2", "o"));
        assert!(shelf.has_changed(id), "it was adopted");
        assert_eq!(names(&mut shelf, "o"), ["x", "y"]);
        assert_eq!(names(&mut shelf, "other"), Vec::<String>::new());
    }

    #[test]
    fn listing_anew_wakes_by_what_differs() {
        let (mut shelf, same) = listed(vec![thing("x", "1", "o"), thing("y", "1", "o"), thing("z", "1", "o")]);
        let (changed, gone) = (shelf.join(Arc::default()), shelf.join(Arc::default()));
        for (id, name) in [(same, "x"), (changed, "y"), (gone, "z")] {
            shelf.named(id, &key(name)).expect("listed").expect("there");
        }
        shelf.replace(vec![thing("x", "1", "o"), thing("y", "2", "o")]);
        assert_eq!([same, changed, gone].map(|id| shelf.has_changed(id)), [false, true, true]);
        assert_eq!(shelf.named(gone, &key("z")), Some(Ok(None)));
    }

    #[test]
    fn nothing_is_known_to_be_absent_before_it_was_listed_or_asked_for() {
        let (mut shelf, failure) = (Shelf::default(), Failure::invalid("forbidden"));
        let id = shelf.join(Arc::default());
        assert_eq!(shelf.named(id, &key("x")), None);
        shelf.only_singly(failure.clone());
        assert_eq!(shelf.named(id, &key("x")), None);
        assert_eq!(shelf.wanted_names(true), [key("x")]);
        shelf.begin(id);
        shelf.named(id, &key("x"));
        shelf.answered(&key("x"), Ok(None));
        assert!(shelf.has_changed(id));
        assert_eq!(shelf.named(id, &key("x")), Some(Ok(None)));
        assert_eq!(shelf.selected(id, None), Some(Err(failure)));
        assert_eq!((shelf.wanted_names(true).len(), shelf.wanted_names(false).len()), (0, 1));
    }

    #[test]
    fn the_first_list_lets_readers_look_and_does_not_make_them_look_twice() {
        let mut shelf = Shelf::default();
        let bell = Arc::<Notify>::default();
        let id = shelf.join(Arc::clone(&bell));
        assert_eq!(shelf.named(id, &key("x")), None);
        shelf.replace(vec![thing("x", "1", "o")]);
        assert!(!shelf.has_changed(id) && shelf.named(id, &key("x")).is_some());
        let rung = futures::FutureExt::now_or_never(bell.notified());
        assert_eq!(rung, Some(()));
        shelf.put(thing("x", "2", "o"));
        assert!(shelf.has_changed(id));
    }

    #[test]
    fn a_state_that_comes_and_goes_before_a_reader_looks_is_not_lost() {
        let (mut shelf, id) = listed(vec![thing("x", "1", "o")]);
        shelf.named(id, &key("x")).expect("listed").expect("there");
        shelf.put(thing("x", "2", "o"));
        shelf.put(thing("x", "3", "o"));
        shelf.remove(&key("x"));
        shelf.begin(id);
        let versions = |objects: Vec<Arc<Value>>| -> Vec<String> {
            objects.iter().map(|it| it["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()).collect()
        };
        assert_eq!(shelf.passed(id, &key("y")), Vec::<Arc<Value>>::new());
        assert_eq!(versions(shelf.passed(id, &key("x"))), ["2", "3"]);
        assert_eq!(shelf.passed(id, &key("x")), Vec::<Arc<Value>>::new());
    }

    #[test]
    fn the_same_trouble_wakes_once() {
        let (mut shelf, id) = listed(Vec::new());
        shelf.fail(Failure::transient("down"));
        assert!(shelf.has_changed(id));
        shelf.begin(id);
        shelf.fail(Failure::transient("down"));
        assert!(!shelf.has_changed(id));
        shelf.recover();
        assert!(shelf.has_changed(id) && shelf.trouble().is_none());
    }
}
