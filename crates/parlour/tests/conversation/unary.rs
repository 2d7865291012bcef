//! Calls without a session: what bots and operators use.

use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::v1::chat_client::ChatClient;
use wire::v1::{self, publish};

use crate::support::person::{Door, Person};
use crate::support::token::{member, token};
use crate::{House, Start};

async fn client(house: &House) -> ChatClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", house.server.grpc)).expect("a URI");
    ChatClient::new(endpoint.connect().await.expect("somebody listens"))
}

fn by_name<T>(name: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let name = MetadataValue::try_from(name).expect("ASCII");
    request.metadata_mut().insert("parlour-name", name);
    request
}

fn post(room: &str, id: &str, text: &str) -> v1::Publish {
    let post = v1::Post { text: text.into(), ..Default::default() };
    v1::Publish {
        room: room.into(),
        id: id.into(),
        content: Some(publish::Content::Post(post)),
        ..Default::default()
    }
}

fn reason(status: &Status) -> &str {
    status.message().split([':', ' ']).next().unwrap_or_default()
}

#[tokio::test]
async fn a_bot_publishes_once_and_reads_back_without_a_session() {
    let house = House::open();
    let mut bot = client(&house).await;
    let said =
        bot.publish(by_name("bot", post("lobby", "build-4711", "green"))).await.expect("taken");
    let said = said.into_inner();
    assert_eq!((said.seq, said.duplicate), (1, Some(false)));
    let again =
        bot.publish(by_name("bot", post("lobby", "build-4711", "green"))).await.expect("taken");
    let again = again.into_inner();
    assert_eq!((again.seq, again.duplicate, &again.log), (1, Some(true), &said.log));
    let conflict =
        bot.publish(by_name("bot", post("lobby", "build-4711", "red"))).await.expect_err("refused");
    assert_eq!(reason(&conflict), "id_conflict", "{conflict:?}");
    for seq in [2, 3] {
        let unprotected =
            bot.publish(by_name("bot", post("lobby", "", "no id"))).await.expect("taken");
        assert_eq!(unprotected.into_inner().seq, seq, "without an id each is another message");
    }
    let ask = v1::HistoryRequest { room: "lobby".into(), limit: 2, ..Default::default() };
    let page = bot.history(by_name("bot", ask)).await.expect("a page").into_inner();
    let seqs: Vec<u64> = page.posts.iter().map(|post| post.seq).collect();
    assert_eq!((seqs, page.more, page.as_of), (vec![2, 3], true, Some(3)));

    let known = |room: &str| by_name("bot", v1::GetRoomRequest { room: room.into() });
    let lobby = bot.get_room(known("lobby")).await.expect("known").into_inner();
    assert_eq!(
        (lobby.log, lobby.first, lobby.head, lobby.ordinal),
        (said.log, Some(1), Some(3), Some(3))
    );
    let unborn = bot.get_room(known("unborn")).await.expect("not an error").into_inner();
    assert_eq!((unborn.log.as_str(), unborn.head), ("", Some(0)));

    let mut ann = Person::come(&house.server, Door::WsJson, "ann").await;
    ann.enter("lobby", Default::default()).await;
    let asked = by_name("bot", v1::PresenceRequest { room: "lobby".into() });
    let present = bot.presence(asked).await.expect("told").into_inner();
    assert_eq!((present.count, present.users[0].id.as_str()), (Some(1), "ann"));

    let rooms = ["lobby", "unborn", "_reserved"].map(str::to_owned).to_vec();
    let told = bot
        .summaries(by_name("bot", v1::SummariesRequest { rooms }))
        .await
        .expect("told")
        .into_inner();
    assert_eq!((told.rooms.len(), told.refused.len()), (2, 1));
}

#[tokio::test]
async fn what_a_call_may_not_do_is_a_status_that_begins_with_the_reason() {
    let house = House::with(Start::with_tokens);
    let mut bot = client(&house).await;
    let with = |token: &str, message: v1::Publish| {
        let mut request = Request::new(message);
        let bearer = MetadataValue::try_from(format!("Bearer {token}")).expect("ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    };
    let good = token("bot", 600, member());
    bot.publish(with(&good, post("lobby", "12345678", "hi"))).await.expect("taken");
    let reader = token("bot", 600, json!({"*": ["read"]}));
    let expired = token("bot", 0, member());
    for (request, code, why) in [
        (by_name("bot", post("lobby", "", "x")), Code::Unauthenticated, "name_not_allowed"),
        (with("nonsense", post("lobby", "", "x")), Code::Unauthenticated, "token_invalid"),
        (with(&expired, post("lobby", "", "x")), Code::Unauthenticated, "token_expired"),
        (with(&reader, post("lobby", "", "x")), Code::PermissionDenied, "forbidden"),
        (with(&good, post("no room", "", "x")), Code::InvalidArgument, "invalid"),
        (
            with(&good, v1::Publish { room: "lobby".into(), ..Default::default() }),
            Code::InvalidArgument,
            "invalid",
        ),
    ] {
        let status = bot.publish(request).await.expect_err(why);
        assert_eq!((status.code(), reason(&status)), (code, why), "{status:?}");
        let details = status.metadata().get_bin("parlour-refused-bin");
        assert!(details.is_some(), "{why}: the refusal itself travels in the trailer");
    }
}
