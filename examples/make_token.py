"""Makes a token: python3 examples/make_token.py KEYFILE USER SECONDS ROOMS, such as '{"*": ["read", "publish"]}'."""
import base64, hashlib, hmac, json, sys, time


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


key_file, user, seconds, rooms = sys.argv[1:]
key = open(key_file, "rb").read().strip()
claims = {"sub": user, "name": user.title(), "exp": int(time.time()) + int(seconds), "rooms": json.loads(rooms)}
signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
print((signed + b"." + part(hmac.new(key, signed, hashlib.sha256).digest())).decode())
