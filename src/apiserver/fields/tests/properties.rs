//! What holds for any sequence of applies.

use super::set::Set;
use super::*;
use proptest::prelude::*;

// an empty list is no field of anybody's on the real server either, so it outlives its applier: none here
prop_compose! {
    fn spec()(
        command in prop::option::of("[a-c]"), priority in prop::option::of(0..3), flag in prop::option::of(any::<bool>()),
        vars in prop::option::of(prop::collection::btree_map("[a-c]", "[x-z]", 0..3)),
        c in prop::option::of("[x-z]"), tags in prop::option::of(prop::collection::btree_set("[a-d]", 1..4)),
        steps in prop::option::of(prop::collection::btree_map("[a-d]", prop::option::of("[x-z]"), 1..4)),
        reversed in any::<bool>(),
    ) -> Value {
        let mut out = json!({});
        let mut put = |name: &str, value: Option<Value>| if let Some(value) = value { out[name] = value };
        put("command", command.map(Value::from));
        put("priority", priority.map(Value::from));
        put("flag", flag.map(Value::from));
        put("vars", vars.map(|v| json!(v)));
        put("nested", c.map(|c| json!({"a": {"c": c}})));
        put("tags", tags.map(|v| json!(v)));
        put("steps", steps.map(|steps| {
            let mut list: Vec<_> = steps.into_iter().map(|(name, run)| match run {
                Some(run) => json!({"name": name, "run": run}),
                None => json!({"name": name}),
            }).collect();
            if reversed { list.reverse() }
            Value::Array(list)
        }));
        out
    }
}

proptest! {
    #[test]
    fn applying_the_same_twice_changes_nothing(specs in prop::collection::vec((0..3_usize, spec()), 1..6)) {
        let mut story = Story::new();
        for (who, spec) in specs {
            let (manager, applied) = (["one", "two", "three"][who], object(spec));
            let first = story.try_apply(manager, &applied, true).unwrap().clone();
            // what would leave another manager's empty map is refused by validation, and nothing comes after it
            if first["spec"].get("vars").is_some_and(Value::is_null) {
                break;
            }
            let again = story.apply_as(at("2026-03-03T00:00:00Z", manager), &applied, true).unwrap();
            prop_assert_eq!(&first, again);
        }
    }

    #[test]
    fn what_nobody_owns_any_more_goes(specs in prop::collection::vec((0..3_usize, spec()), 1..6)) {
        let mut story = Story::new();
        for (who, spec) in specs {
            story.try_apply(["one", "two", "three"][who], &object(spec), true).unwrap();
        }
        for manager in ["one", "two", "three"] {
            story.try_apply(manager, &meta(json!({})), true).unwrap();
        }
        prop_assert!(story.entries().is_empty());
        let left = story.live.as_ref().unwrap();
        prop_assert!(left["spec"].is_null() || left["spec"] == json!({"mode": "Once"}), "{}", left);
    }

    #[test]
    fn whoever_applies_has_what_it_applied(specs in prop::collection::vec((0..3_usize, spec()), 1..6)) {
        let mut story = Story::new();
        for (who, spec) in specs {
            let node_fields = shape::fields(story.schema.owned(), &object(spec.clone()));
            story.try_apply(["one", "two", "three"][who], &object(spec), true).unwrap();
            let live = shape::fields(story.schema.owned(), story.live.as_ref().unwrap());
            let missing = node_fields.difference(&live.with_structs(story.schema.owned()));
            // an empty container that others filled is there, only not as a field of its own
            prop_assert!(missing.paths().iter().all(|p| p.len() == 2 && p[1] == step::Step::field("vars")), "{:?}", missing);
        }
    }

    #[test]
    fn field_sets_survive_encoding(specs in prop::collection::vec(spec(), 1..4)) {
        let schema = schema();
        let set = specs.into_iter().fold(Set::default(), |all, spec| all.union(&shape::fields(schema.owned(), &object(spec))));
        prop_assert_eq!(Set::decode(&set.encode()).unwrap(), set);
    }
}
