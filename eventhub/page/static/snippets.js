// The current view in other words: what a program sends to see the same. TOKEN comes from `eventhub token create`.

const quote = (text) => JSON.stringify(text);

export function curl(origin, matchId) {
  return `# TOKEN=$(eventhub token create)
curl -sS -H "Authorization: Bearer $TOKEN" \\
  '${origin}/v1/matches/${encodeURIComponent(matchId).replaceAll("'", "%27")}/events?limit=100'
`;
}

function place(cursor) {
  return cursor ? `"cursor": ${quote(cursor)}` : '"from": "start"';
}

export function javascript(origin, channel, cursor) {
  return `// TOKEN=$(eventhub token create) node watch.mjs
const socket = new WebSocket(${quote(`${origin.replace(/^http/, "ws")}/v1/stream`)}, "eventhub.v1+json");
const send = (command) => socket.send(JSON.stringify(command));
socket.onopen = () => {
  send({ "id": 1, "type": "connect", "token": process.env.TOKEN });
  send({ "id": 2, "type": "subscribe", "channel": ${quote(channel)}, ${place(cursor)} });
};
socket.onmessage = ({ data }) => {
  for (const line of data.split("\\n")) console.log(JSON.parse(line));
};
`;
}

export function python(origin, channel, cursor) {
  return `# TOKEN=$(eventhub token create) python watch.py     (pip install websockets)
import asyncio, json, os, websockets

async def watch():
    url = ${quote(`${origin.replace(/^http/, "ws")}/v1/stream`)}
    async with websockets.connect(url, subprotocols=["eventhub.v1+json"]) as socket:
        for command in (
            {"id": 1, "type": "connect", "token": os.environ["TOKEN"]},
            {"id": 2, "type": "subscribe", "channel": ${quote(channel)}, ${place(cursor)}},
        ):
            await socket.send(json.dumps(command))
        async for frame in socket:
            for line in frame.split("\\n"):
                print(json.loads(line), flush=True)

asyncio.run(watch())
`;
}
