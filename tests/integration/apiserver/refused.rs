//! What no server serves: each class of request is refused, with the code and words of kube-apiserver, and never half done. What
//! only the embedded API refuses is in `left_out`.

use super::{
    raw::{Answer, Wire},
    support::Served,
};

pub(super) const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROGRAM: &str = r#"{"apiVersion": "content.example.dev/v1", "kind": "Program", "metadata": {"name": "b"}, "spec": {"command": "run"}}"#;
const NONE: &str = "404 page not found\n";
/// How a refusal of a type begins: of a body, and of an answer.
pub(super) const TYPES: &str = "the body of the request was in an unknown format - accepted media types include: ";
pub(super) const ANSWERS: &str = "only the following media types are accepted: ";

/// Class, method, path (a leading `~` stands for the path of programs), header, body, code, words.
pub(super) type Case<'a> = (&'a str, &'a str, &'a str, (&'a str, &'a str), &'a str, u16, &'a str);

pub(super) const fn accept(media: &str) -> (&str, &str) {
    ("Accept", media)
}

pub(super) const fn sends(media: &str) -> (&str, &str) {
    ("Content-Type", media)
}

const CASES: &[Case<'_>] = &[
    ("another subresource", "POST", "~/a/exec", JSON, "{}", 404, "not found"),
    ("a status that the kind lacks", "GET", "/apis/content.example.dev/v1/sites/a/status", JSON, "", 404, ""),
    ("protobuf of a custom kind", "PATCH", "~/a", sends("application/vnd.kubernetes.protobuf"), "k8s\0", 415, TYPES),
    ("YAML watches", "GET", "~?watch=true", accept("application/yaml"), "", 406, ANSWERS),
    ("other bodies", "POST", "~", sends("application/xml"), "<x/>", 415, TYPES),
    ("a table of no version", "GET", "~/a", accept("application/json;as=Table;v=v9;g=meta.k8s.io"), "", 406, ANSWERS),
    ("strategic merge", "PATCH", "~/a", sends("application/strategic-merge-patch+json"), "{}", 415, TYPES),
    ("a patch of no type", "PATCH", "~/a", JSON, "{}", 415, TYPES),
    ("a body that is too large", "POST", "~", JSON, "", 413, "Request entity too large: limit is 3145728"),
    ("a name that is no path", "GET", "~/%2e%2e", JSON, "", 400, "may not be '..'"),
    ("another method", "BREW", "~/a", JSON, "", 405, "is not supported on resources of kind"),
    ("all namespaces deleted", "DELETE", "/api/v1/namespaces", JSON, "", 405, "does not allow this method"),
    ("PUT of a list", "PUT", "~", JSON, PROGRAM, 400, "name must be provided"),
    ("a lasting namespace", "DELETE", "/api/v1/namespaces/kube-system", JSON, "", 403, "may not be deleted"),
    ("another version", "GET", "/apis/content.example.dev/v2/namespaces/default/programs", JSON, "", 404, NONE),
    ("another group", "GET", "/apis/none.example.dev/v1", JSON, "", 404, NONE),
    ("another kind", "GET", "/apis/content.example.dev/v1/nonsense", JSON, "", 404, NONE),
    ("a name in no namespace", "GET", "/apis/content.example.dev/v1/programs/a", JSON, "", 404, NONE),
    ("a namespace of no kind's", "GET", "/apis/content.example.dev/v1/namespaces/default/sites", JSON, "", 404, NONE),
    ("another path", "GET", "/nonsense", JSON, "", 404, NONE),
];

/// Sends every case; the first whose answer is another fails.
pub(super) async fn all_refused(wire: &Wire, programs: &str, cases: &[Case<'_>]) {
    let large = "x".repeat((3 << 20) + 1);
    for (class, method, path, header, body, code, words) in cases {
        let path = path.strip_prefix('~').map_or_else(|| (*path).to_owned(), |rest| format!("{programs}{rest}"));
        let body = if *code == 413 { &large } else { *body };
        let answer: Answer = wire.send(method, &path, *header, body).await;
        assert_eq!(answer.code, *code, "{class}: {method} {path}: {answer:?}");
        assert!(answer.text.contains(words), "{class}: {method} {path}: {answer:?}");
    }
}

/// A wire to a server with the program `a`.
pub(super) async fn with_a(served: &Served) -> (Wire, String) {
    let (wire, programs) = (Wire::new(served.admin().await), served.path("programs"));
    let made = PROGRAM.replace("\"b\"", "\"a\"");
    assert_eq!(wire.send("POST", &programs, JSON, &made).await.code, 201);
    (wire, programs)
}

#[tokio::test]
async fn each_class_is_refused_with_the_real_servers_code_and_words() {
    let Some(served) = Served::start().await else { return };
    let (wire, programs) = with_a(&served).await;
    let before = wire.get(&programs).await.json()["items"].clone();
    all_refused(&wire, &programs, CASES).await;
    assert_eq!(wire.get(&programs).await.json()["items"], before, "something was half done");
}
