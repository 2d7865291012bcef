"""A chat client: python3 examples/chat.py NAME ROOM [URL]. Needs `websockets`; a token comes in $PARLOUR_CHAT_TOKEN."""
import asyncio, json, os, sys, uuid
import websockets


async def main(name, room, url="ws://127.0.0.1:8080/v1/ws"):
    who = {"token": os.environ["PARLOUR_CHAT_TOKEN"]} if "PARLOUR_CHAT_TOKEN" in os.environ else {"name": name}
    async with websockets.connect(url, subprotocols=["parlour.v1.json"]) as socket:
        async def say(**frame):
            await socket.send(json.dumps(frame))

        async def read():
            async for text in socket:
                frame = json.loads(text)
                if "heartbeat" in frame:
                    await say(heartbeat={})
                for message in [frame.get("message", {})] + frame.get("subscribed", {}).get("snapshot", {}).get("messages", []):
                    if "post" in message:
                        print(f'{message["seq"]} {message["from"]["name"]}: {message["post"]["text"]}', flush=True)
                for no in ("refused", "unsubscribed", "end"):
                    if no in frame:
                        print(f'{frame[no]["reason"]}: {frame[no]["message"]}', flush=True)

        async def write():
            while line := await asyncio.to_thread(sys.stdin.readline):
                await say(ref=2, publish={"room": room, "id": uuid.uuid4().hex, "post": {"text": line.rstrip("\n")}})
            await asyncio.sleep(0.5)  # What was said last is on its way back.

        await say(ref=1, hello={**who, "subscribe": [{"room": room, "recent": 10}]})
        await asyncio.wait([asyncio.create_task(read()), asyncio.create_task(write())], return_when="FIRST_COMPLETED")


asyncio.run(main(*sys.argv[1:]))
