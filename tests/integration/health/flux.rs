//! The expressions of `gitops/flux`, evaluated as Flux does: one after the other, the first that holds decides. Here by the CEL that
//! the product has in it, in every run; by that of the real API server, the one that Flux has too, in `make cluster-test`.

use cel::{Context, Program, Value};

use super::{
    expressions::expressions,
    recorded::{all, kinds},
};

#[test]
fn flux_sees_every_object_as_it_is() {
    let expressions = expressions();
    for one in all() {
        let object = &one.object;
        let of_kind = expressions.iter().find(|of| object["kind"] == of.kind.as_str()).unwrap();
        let mut context = Context::default();
        for (field, value) in object.as_object().unwrap() {
            context.add_variable(field.as_str(), value).unwrap();
        }
        let holds = |text: &String| match Program::compile(text).unwrap().execute(&context) {
            Ok(Value::Bool(holds)) => holds,
            other => panic!("{text} of {object}: {other:?}"),
        };
        let says = of_kind.in_order.iter().find(|(_, text)| holds(text)).map(|(says, _)| *says);
        assert_eq!(says, Some(one.state.in_flux()), "{:?} {object:#}", one.state);
    }
}

/// With the argument that a kind might be forgotten: a new one fails here.
#[test]
fn flux_has_expressions_for_every_kind() {
    let mut told: Vec<String> = expressions().into_iter().map(|one| one.kind).collect();
    let mut kinds = kinds();
    told.sort();
    kinds.sort();
    assert_eq!(told, kinds);
}
