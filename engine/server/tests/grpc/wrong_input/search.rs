//! Searches that cannot be: queries, vectors, policies, filters.

use prost_types::value::Kind as ValueKind;
use tonic::Code;
use twn_protos::v1::{self as pb, filter::Kind};

use super::{invalid, refused, server};
use crate::support::message::{self, equals, filter};

#[tokio::test(flavor = "multi_thread")]
async fn searches_name_the_field_that_is_wrong() {
    let server = server().await;
    let search = async |change: fn(&mut pb::SearchRequest)| {
        let mut request = message::search("docs", "words");
        change(&mut request);
        server.search().search(request).await
    };
    let query = |content| Some(pb::search_request::Query::Content(content));

    invalid(search(|r| r.query = None).await, "query: is required");
    let empty = search(|r| r.query = None).await;
    assert_eq!(refused(empty).code(), Code::InvalidArgument);
    let no_parts =
        pb::SearchRequest { query: query(pb::Content::default()), ..message::search("docs", "") };
    invalid(
        server.search().search(no_parts).await,
        "content: has no parts, at least one is needed",
    );
    invalid(
        server.search().search(message::search("docs", " \n\t ")).await,
        "content: content is empty: give at least one part with text that is not only whitespace",
    );
    invalid(
        server.search().search(message::search("docs", &"x".repeat(10 << 20))).await,
        "content: has 10485760 bytes of text, at most 1048576 are allowed",
    );
    invalid(search(|r| r.limit = 1_001).await, "limit: 1001 is outside 1 to 1000");
    invalid(search(|r| r.ef_search = 4_097).await, "ef_search: 4097 is outside 1 to 4096");
    for (target, shown) in [(0.49, "0.49"), (-0.9, "-0.9"), (1.01, "1.01"), (f32::NAN, "NaN")] {
        let request =
            pb::SearchRequest { recall_target: target, ..message::search("docs", "words") };
        let message = format!("recall_target: {shown} is outside 0.5 to 1");
        invalid(server.search().search(request).await, &message);
    }
    invalid(
        search(|r| (r.recall_target, r.ef_search) = (0.9, 20)).await,
        "recall_target: takes the place of `ef_search`: give one of the two",
    );

    let wordy = pb::SearchRequest {
        query: query(pb::Content { parts: vec![message::text("x").parts.remove(0); 17] }),
        ..message::search("docs", "")
    };
    invalid(
        server.search().search(wordy).await,
        "content.parts: has 17 parts, at most 16 are allowed",
    );
    let kindless = pb::SearchRequest {
        query: query(pb::Content { parts: vec![pb::Part { kind: None }] }),
        ..message::search("docs", "")
    };
    invalid(
        server.search().search(kindless).await,
        "content.parts[0]: is none of text, image, video and page",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_have_the_right_length_and_a_direction() {
    let server = server().await;
    let search =
        async |values| server.search().search(message::search_vector("docs", values)).await;
    invalid(search(vec![1.0; 63]).await, "vector: has 63 dimensions, collection `docs` expects 64");
    invalid(search(vec![]).await, "vector: has 0 dimensions, collection `docs` expects 64");
    let mut values = message::vector(1);
    values[3] = f32::NAN;
    invalid(search(values.clone()).await, "vector: bad vector: value 3 is NaN");
    values[3] = f32::INFINITY;
    invalid(search(values.clone()).await, "vector: bad vector: value 3 is inf");
    invalid(search(vec![0.0; 64]).await, "vector: bad vector: its length is zero");

    values[3] = f32::NAN;
    let document = pb::DocumentInput { vector: values, ..message::document("a", "words") };
    invalid(
        server.ingest().upsert(message::upsert("docs", [document])).await,
        "documents[0].vector: bad vector: value 3 is NaN",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_can_not_be_explained() {
    let server = server().await;
    let request =
        pb::SearchRequest { explain: true, ..message::search_vector("docs", message::vector(1)) };
    invalid(
        server.search().search(request).await,
        "explain: a supplied vector has no other embedding to compare with",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_within_their_bounds() {
    let server = server().await;
    let search = async |policy| {
        let reasoning = Some(policy);
        let request = pb::SearchRequest { reasoning, ..message::search("docs", "words") };
        server.search().search(request).await
    };
    let plain = pb::ReasoningPolicy::default;
    invalid(
        search(pb::ReasoningPolicy { mode: 4, ..plain() }).await,
        "reasoning.mode: 4 is not a value of this enumeration",
    );
    let convergence = |every, similarity| pb::ReasoningPolicy {
        convergence: Some(pb::Convergence { every, similarity }),
        ..plain()
    };
    invalid(
        search(convergence(513, 0.9)).await,
        "reasoning.convergence.every: 513 is outside 1 to 512",
    );
    invalid(
        search(convergence(8, f32::NAN)).await,
        "reasoning.convergence.similarity: NaN is outside 0 to 1",
    );
    invalid(
        search(pb::ReasoningPolicy { threshold: Some(1.5), ..plain() }).await,
        "reasoning.threshold: 1.5 is outside 0 to 1",
    );
    invalid(
        search(pb::ReasoningPolicy { threshold: Some(f32::NAN), ..plain() }).await,
        "reasoning.threshold: NaN is outside 0 to 1",
    );
    invalid(
        search(pb::ReasoningPolicy { token_budget: Some(0), ..plain() }).await,
        "reasoning.token_budget: 0 is outside 1 to 512",
    );
    invalid(
        search(pb::ReasoningPolicy { token_budget: Some(513), ..plain() }).await,
        "reasoning.token_budget: 513 is outside 1 to 512",
    );
    invalid(
        search(pb::ReasoningPolicy { temperature: Some(-1.0), ..plain() }).await,
        "reasoning.temperature: -1 is outside 0 to 2",
    );
    invalid(
        search(pb::ReasoningPolicy { temperature: Some(f32::INFINITY), ..plain() }).await,
        "reasoning.temperature: inf is outside 0 to 2",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_say_something_and_not_too_much() {
    let server = server().await;
    let search = async |filter| {
        let request = pb::SearchRequest { filter, ..message::search("docs", "words") };
        server.search().search(request).await
    };
    let range = |range| filter(Kind::Range(range));
    let year = || pb::Range { field: "year".into(), ..Default::default() };
    let exists = |field: &str| pb::Filter {
        kind: Some(Kind::Exists(pb::Exists { field: field.to_owned() })),
    };
    let bad = "filter: bad filter: ";

    invalid(search(Some(pb::Filter::default())).await, "filter: is required");
    invalid(
        search(filter(Kind::And(pb::And::default()))).await,
        &format!("{bad}`and` and `or` need at least one clause"),
    );
    invalid(
        search(filter(Kind::In(pb::In { field: "lang".into(), values: vec![] }))).await,
        &format!("{bad}`in` on `lang` lists no value"),
    );
    invalid(search(range(year())).await, &format!("{bad}`range` on `year` has no bound"));
    invalid(
        search(range(pb::Range { lt: Some(f64::NAN), ..year() })).await,
        "filter.range: NaN cannot be a bound",
    );
    invalid(
        search(equals("", ValueKind::BoolValue(true))).await,
        &format!("{bad}a field has no name"),
    );
    invalid(
        search(equals("lang", ValueKind::NullValue(0))).await,
        "filter.match.value: must be a string, a number or a bool",
    );
    invalid(
        search(filter(Kind::And(pb::And { filters: vec![exists("a"); 300] }))).await,
        &format!("{bad}it has more than 256 clauses"),
    );
    let deep =
        (0..20).fold(exists("a"), |inner, _| pb::Filter { kind: Some(Kind::Not(Box::new(inner))) });
    invalid(search(Some(deep.clone())).await, &format!("{bad}it nests deeper than 16 levels"));

    let count = pb::CountRequest { collection: "docs".into(), filter: Some(deep.clone()) };
    let refused_count = refused(server.search().count(count).await);
    assert_eq!(refused_count.code(), Code::InvalidArgument);
    let list =
        pb::ListRequest { collection: "docs".into(), filter: Some(deep), ..Default::default() };
    assert_eq!(refused(server.search().list(list).await).code(), Code::InvalidArgument);
}
