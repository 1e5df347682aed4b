import json, os, threading, urllib.error, urllib.parse, urllib.request

SERVER, KEY = os.environ["WINDROW_SERVER"], os.environ["WINDROW_TOKEN"]

def call(method, path, body=None, content_type="application/json"):
    data = json.dumps(body).encode() if content_type == "application/json" and body is not None else body
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": content_type}
    request = urllib.request.Request(f"{SERVER}/v1/worker{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)

def keep_alive(lease, done, stop):
    while not done.wait(5):  # a lease that nobody renews for 30 s is over
        if call("POST", f"{lease}/heartbeat")["stop"]:
            return stop.set()

def run(job, lease, stop):
    shouted = "\n".join(line.upper() for line in job["spec"]["text"].splitlines() if not stop.is_set())
    place = urllib.parse.urlencode({"prefix": "outputs", "name": "shouted.txt"})
    stored = call("PUT", f"{lease}/objects?{place}", shouted.encode(), "text/plain")
    artifact = {"kind": "txt", "filename": "shouted.txt", "content_type": "text/plain", "object": stored}
    return {"outcome": "done", "output": {"result": {"characters": len(shouted)}, "artifacts": [artifact]}}

while True:
    for job in call("POST", "/claim", {"workloads": ["shout"], "slots": 1, "wait_ms": 20000})["leases"]:
        lease, done, stop = f"/leases/{job['job']}.{job['run']}", threading.Event(), threading.Event()
        threading.Thread(target=keep_alive, args=(lease, done, stop), daemon=True).start()
        try:
            end = run(job, lease, stop)
            call("POST", f"{lease}/release" if stop.is_set() else f"{lease}/complete", None if stop.is_set() else end)
        except urllib.error.HTTPError as refused:
            print(refused.read().decode())  # a problem document; the run is tried again when its lease is over
        finally:
            done.set()
