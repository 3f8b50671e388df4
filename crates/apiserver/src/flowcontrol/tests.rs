use super::queueset::Totals;
use super::*;

/// A level with one seat for each share.
fn control(queues: u32, seats: u32) -> Arc<FlowControl> {
    control_with(queues, seats, Vec::new())
}

/// The same beside other levels.
fn control_with(queues: u32, seats: u32, others: Vec<serde_json::Value>) -> Arc<FlowControl> {
    let control = FlowControl::new(seats, Env::system());
    let queuing = serde_json::json!({"queues": queues, "handSize": 1, "queueLengthLimit": 10});
    let level = serde_json::json!({
        "metadata": {"name": "level", "uid": "u"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 1, "limitResponse": {"type": "Queue", "queuing": queuing}}},
    });
    let all = serde_json::json!({"subjects": [{"kind": "User", "user": {"name": "*"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    let schema = serde_json::json!({
        "metadata": {"name": "schema", "uid": "s"},
        "spec": {"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "level"},
            "distinguisherMethod": {"type": "ByUser"}, "rules": [all]},
    });
    let none = serde_json::json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}}});
    let next =
        control.snapshot.load().next(&[schema], &[vec![level, none], others].concat(), seats, control.env.instant());
    control.snapshot.store(Arc::new(next));
    control
}

fn request(user: &str) -> (Arc<RequestInfo>, Arc<Identity>) {
    let info = RequestInfo::parse(&http::Method::GET, &http::Uri::from_static("/version"));
    (Arc::new(info), Arc::new(Identity::new(user, &[])))
}

async fn seat(control: &Arc<FlowControl>, user: &str) -> Result<Seat, TurnedAway> {
    let (info, identity) = request(user);
    let schema = control.classify(Digest { identity: &identity, info: &info, method: "GET" });
    control.seat(&schema, (&info, &identity), estimate::ONE, Duration::from_secs(15)).await
}

fn totals(control: &FlowControl) -> Totals {
    control.snapshot.load().levels["level"].set().totals()
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_when_a_seat_is_free() {
    let control = control(4, 1);
    let first = seat(&control, "a").await.ok().expect("a seat");
    let (second, ()) = tokio::join!(seat(&control, "b"), async {
        assert_eq!(totals(&control).waiting, 1);
        drop(first);
    });
    assert!(second.is_ok());
    drop(second);
    assert_eq!(totals(&control), Totals::default());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_is_turned_away() {
    let control = control(4, 1);
    let _first = seat(&control, "a").await.ok().expect("a seat");
    let began = control.env.instant();
    let late = seat(&control, "b").await.err().expect("no seat");
    assert_eq!((late.why, late.retry_after, began.elapsed().as_secs()), (Refusal::TimeOut, 1, 15));
    let text = dump(&control, "dump_priority_levels", false).expect("text");
    let row = text.lines().find(|line| line.starts_with("level,")).expect("the level");
    let words: Vec<&str> = row.split(',').map(str::trim).collect();
    assert_eq!(words, ["level", "1", "false", "false", "0", "1", "1", "0", "1", "0"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_leaves_the_queue() {
    let control = control(4, 1);
    let first = seat(&control, "a").await.ok().expect("a seat");
    {
        let waiting = seat(&control, "b");
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let text = dump(&control, "dump_requests", true).expect("text");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().any(|line| line.contains("b,") && line.contains("0001-01-01T00:00:00Z")), "{text}");
    }
    {
        // It is given the seat, and goes before it hears of it.
        let waiting = seat(&control, "c");
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        assert_eq!(totals(&control).executing, 1);
    }
    assert_eq!(totals(&control), Totals::default());
}

#[tokio::test(start_paused = true)]
async fn seats_of_an_idle_level_are_lent() {
    let idle = serde_json::json!({
        "metadata": {"name": "idle", "uid": "i"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 1, "lendablePercent": 50, "limitResponse": {"type": "Reject"}}},
    });
    let control = control_with(4, 8, vec![idle]);
    let mut seats = Vec::new();
    for number in 0..4 {
        seats.push(seat(&control, &format!("user-{number}")).await.ok().expect("a seat"));
    }
    let waiting = seat(&control, "one-more");
    tokio::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    tokio::time::advance(Duration::from_secs(10)).await;
    control.adjust();
    assert!(waiting.await.is_ok(), "it is woken by the seats that were lent");
}

#[tokio::test]
async fn the_clusters_own_parts_are_known_before_their_schemas_are_written() {
    let control = FlowControl::new(600, Env::system());
    let manager = Identity::new("system:kube-controller-manager", &["system:authenticated"]);
    let info = RequestInfo::parse(&http::Method::GET, &http::Uri::from_static("/api/v1/pods"));
    let digest = Digest { identity: &manager, info: &info, method: "GET" };
    assert_eq!(control.classify(digest).name, "kube-controller-manager");
    let written = vec![serde_json::json!({"metadata": {"name": "system-nodes"}, "spec": {}})];
    let names: Vec<_> = super::completed(written, super::bootstrap::suggested_schemas())
        .iter()
        .map(|schema| api::meta::name(schema).to_owned())
        .collect();
    assert_eq!(names.iter().filter(|name| *name == "system-nodes").count(), 1);
    assert!(names.iter().any(|name| name == "kube-controller-manager"), "{names:?}");
}
