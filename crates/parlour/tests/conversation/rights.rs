//! Who may do what, by the token.

use parlour_client::{ConnectError, Event, MessageContent, PublishError, Reading};
use serde_json::json;

use crate::House;
use crate::support::person::{DOORS, Door, Person, options, patiently, room};
use crate::support::raw::Raw;
use crate::support::token::{KEY, member, now_s, sign, token};

fn house() -> House {
    House::with(crate::Start::with_tokens)
}

#[tokio::test]
async fn a_token_is_wanted_and_a_wrong_one_ends_the_session_with_its_reason() {
    let house = house();
    let mut forged = token("ann", 600, member());
    forged.replace_range(forged.len() - 6.., "AAAAAA");
    let expired = sign(&json!({"sub": "ann", "exp": now_s() - 5, "rooms": member()}));
    let other_right = token("ann", 600, json!({"*": ["fly"]}));
    for (hello, code, named) in [
        (json!({"name": "ann"}), 4504, "token"),
        (json!({"token": forged}), 4504, ""),
        (json!({"token": "nonsense"}), 4504, ""),
        (json!({"token": other_right}), 4504, "fly"),
        (json!({"token": expired}), 4505, ""),
    ] {
        let mut raw = Raw::dial(&house.server).await;
        raw.say(json!({"ref": 1, "hello": hello})).await;
        let (end, close) = raw.end().await;
        assert_eq!((end["code"].as_u64(), close), (Some(code), code as u16), "{hello}: {end}");
        assert!(end["message"].as_str().is_some_and(|text| text.contains(named)), "{hello}: {end}");
        assert!(!end.to_string().contains(KEY));
    }
    for door in DOORS {
        let refused = patiently(
            "it",
            parlour_client::connect(options(&house.server, door).token("nonsense")),
        )
        .await;
        match refused {
            Err(ConnectError::Ended { code, .. }) => assert_eq!(code, 4504, "{door:?}"),
            other => panic!("{door:?}: {other:?}"),
        }
    }
    assert!(!house.server.said().contains(KEY));
}

#[tokio::test]
async fn rights_are_stated_and_enforced_through_every_door() {
    let house = house();
    let rooms = json!({"team:*": ["read", "publish"], "*": ["read"], "secret:*": []});
    let keeper =
        Person::with(options(&house.server, Door::Grpc).token(token("keeper", 600, member())))
            .await;
    keeper.say("news", "read all about it").await;
    for door in DOORS {
        let token = token("ann", 600, rooms.clone());
        let mut ann = Person::with(options(&house.server, door).token(token)).await;
        let entered = ann.enter("news", Reading::default()).await;
        let rights: Vec<_> =
            entered.subscription.rights.iter().map(|right| right.as_str()).collect();
        assert_eq!((rights, entered.presence), (vec!["read"], None), "{door:?}");
        let refused = ann.handle.publish(&room("news"), MessageContent::post("mine")).await;
        match refused {
            Err(PublishError::NotPublished(not)) => {
                assert_eq!(
                    not.refusal.map(|refusal| refusal.code.reason()),
                    Some("forbidden"),
                    "{door:?}"
                );
            }
            other => panic!("{door:?}: {other:?}"),
        }
        ann.say("team:ops", "allowed").await;
    }
    let nobody = json!({"team:*": ["read"]});
    let mut raw = Raw::dial(&house.server).await;
    raw.say(json!({"ref": 1, "hello": {"token": token("bob", 600, nobody), "subscribe": [{"room": "news"}]}})).await;
    let unsubscribed = raw.until("unsubscribed").await;
    assert_eq!(
        (&unsubscribed["code"], &unsubscribed["reason"]),
        (&json!(201), &json!("forbidden"))
    );
    assert_eq!(unsubscribed.get("retryAfterMs"), None);
    for request in [
        json!({"history": {"room": "news"}}),
        json!({"publish": {"room": "team:ops", "id": "12345678", "post": {"text": "x"}}}),
        json!({"mark": {"room": "news", "seq": 1}}),
    ] {
        assert_eq!(raw.refusal(request.clone()).await["code"], 110, "{request}");
    }
}

#[tokio::test]
async fn a_token_is_renewed_in_place_and_the_new_rights_are_told() {
    let house = house();
    for door in DOORS {
        let first = token("ann", 600, json!({"*": ["read"]}));
        let mut ann = Person::with(options(&house.server, door).token(first)).await;
        ann.enter("lobby", Reading::default()).await;
        ann.handle.authenticate(token("ann", 1_200, member())).await.expect("open");
        let expires = ann
            .until("authenticated", |event| match event {
                Event::Authenticated { expires_at_ms } => Some(*expires_at_ms),
                _ => None,
            })
            .await;
        assert!(expires.is_some_and(|at_ms| at_ms > (now_s() + 900) * 1_000), "{door:?}");
        let rights = ann
            .until("the new rights", |event| match event {
                Event::Rights { rights, .. } => Some(rights.iter().count()),
                _ => None,
            })
            .await;
        assert_eq!(rights, 4, "{door:?}");
        ann.say("lobby", "now I may").await;
    }
    let mut raw = Raw::dial(&house.server).await;
    raw.say(json!({"ref": 1, "hello": {"token": token("ann", 600, member()), "subscribe": [{"room": "lobby"}]}})).await;
    raw.until("subscribed").await;
    let another = token("bob", 600, member());
    assert_eq!(raw.refusal(json!({"authenticate": {"token": another}})).await["code"], 111);
    let expired = token("ann", 0, member());
    let refused = raw.refusal(json!({"authenticate": {"token": expired}})).await;
    assert_eq!((&refused["code"], &refused["needsToken"]), (&json!(112), &json!(true)));
    // Less than before: what may no longer be read ends, and only that.
    let less = json!({"hall": ["read"]});
    let answer = raw.ask(json!({"authenticate": {"token": token("ann", 600, less)}})).await;
    assert!(answer["authenticated"]["expiresAtMs"].is_u64(), "{answer}");
    assert_eq!(raw.until("unsubscribed").await["code"], 201);
    assert!(raw.ask(json!({"subscribe": {"room": "hall"}})).await["subscribed"].is_object());
}

#[tokio::test]
async fn an_expired_token_is_told_and_who_renews_stays() {
    let house = house();
    let mut idle = Raw::dial(&house.server).await;
    idle.say(json!({"ref": 1, "hello": {"token": token("ann", 2, member()), "subscribe": [{"room": "lobby"}]}})).await;
    let welcome = idle.until("welcome").await;
    assert!(
        welcome["tokenExpiresAtMs"].as_u64().is_some_and(|at_ms| at_ms <= (now_s() + 2) * 1_000)
    );
    let mut renewing =
        options(&house.server, Door::WsJson).token(token("bob", 5, member())).renews_token();
    renewing.client.limits.renew_before_ms = 4_000;
    let mut bob = Person::with(renewing).await;
    bob.until("the wish for a token", |event| matches!(event, Event::NeedToken).then_some(()))
        .await;
    bob.handle.authenticate(token("bob", 600, member())).await.expect("open");
    // Expiry plus the grace for a renewal that is on its way.
    let (end, close) = idle.end().await;
    assert_eq!(
        (&end["code"], &end["reason"], close),
        (&json!(4505), &json!("token_expired"), 4505)
    );
    bob.say("lobby", "still here").await;
}
