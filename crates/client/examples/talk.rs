//! Says what comes on the standard input in a room, and prints what is said there.
//!
//! `cargo run -p parlour-client --example talk -- ws://127.0.0.1:8080 team:ops ann`

use std::error::Error;

use parlour_client::{Event, Events, Handle, MessageContent, Options, Reading, RoomName, posts};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut arg = |usual: &str| args.next().unwrap_or_else(|| usual.to_owned());
    let (url, room, name) = (arg("ws://127.0.0.1:8080"), arg("lobby"), arg("ann"));
    let room = RoomName::new(&room)?;
    let (handle, events) = parlour_client::connect(Options::new(url).name(name)).await?;
    handle.subscribe(&room, Reading::recent(20)).await?;
    // Events are read in a task of their own: unread ones would stop the publishes' answers too.
    let printing = tokio::spawn(print(events));
    say(&handle, &room).await?;
    handle.close().await;
    printing.await?;
    Ok(())
}

async fn say(handle: &Handle, room: &RoomName) -> Result<(), Box<dyn Error>> {
    while let Some(line) = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await? {
        match handle.publish(room, MessageContent::post(line?)).await {
            Ok(published) => println!("* stands at {}", published.seq),
            Err(error) => println!("* {error}"),
        }
    }
    Ok(())
}

async fn print(mut events: Events) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Message(message) => {
                println!("{} {}: {}", message.seq, message.from.name, message.content.text());
            }
            Event::Subscribed { room, subscription, .. } => {
                println!("* {room}: head {}", subscription.head);
                if let parlour_client::Catchup::Snapshot(snapshot) = &subscription.catchup {
                    for post in posts(&room, &snapshot.page).unwrap_or_default() {
                        println!("{} {}: {}", post.seq, post.from.name, post.content.text());
                    }
                }
            }
            Event::Disconnected { again_in_ms } => println!("* lost; again in {again_in_ms} ms"),
            Event::Ended { code, message } => println!("* {message} ({code})"),
            other => println!("* {other:?}"),
        }
    }
}
