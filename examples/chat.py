"""A chat client in twenty lines: python3 examples/chat.py NAME ROOM [URL]   (pip install websockets)"""
import asyncio, json, sys, uuid
import websockets

async def main(name, room, url="ws://127.0.0.1:8080/v1/ws"):
    async with websockets.connect(url, subprotocols=["parlour.v1.json"]) as socket:
        say = lambda **frame: socket.send(json.dumps(frame))
        await say(ref=1, hello={"name": name, "subscribe": [{"room": room, "recent": 10}]})

        async def read():
            async for text in socket:
                frame = json.loads(text)
                if "heartbeat" in frame:
                    await say(heartbeat={})
                for message in [frame["message"]] if "message" in frame else frame.get("subscribed", {}).get("snapshot", {}).get("messages", []):
                    if "post" in message:
                        print(f'{message["seq"]} {message["from"]["name"]}: {message["post"]["text"]}', flush=True)

        reader = asyncio.create_task(read())
        while line := await asyncio.to_thread(sys.stdin.readline):
            await say(publish={"room": room, "id": uuid.uuid4().hex, "post": {"text": line.rstrip()}})
        await asyncio.sleep(0.5)
        reader.cancel()

asyncio.run(main(*sys.argv[1:]))
