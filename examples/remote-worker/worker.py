import http.client, json, os, sys, threading, time, urllib.error, urllib.parse, urllib.request

SERVER, KEY = os.environ["WINDROW_SERVER"], os.environ["WINDROW_TOKEN"]
LAPSE = 30  # seconds after which a lease that nobody renews is over

class Refused(Exception): pass  # asking again won't help
class Gone(Refused): pass  # the job is another worker's now: what this run does counts for nothing

def call(method, path, body=None, content_type="application/json", patience=LAPSE):
    data = json.dumps(body).encode() if content_type == "application/json" and body is not None else body
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": content_type}
    request = urllib.request.Request(f"{SERVER}/v1/worker{path}", data, headers, method=method)
    until = time.monotonic() + patience
    while True:  # a server that is being replaced comes back, and every request may be repeated
        try:
            with urllib.request.urlopen(request, timeout=LAPSE - 5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = error.read().decode()  # a problem document, or a proxy's page
            if error.code == 409:
                raise Gone(problem)
            if error.code < 500 and error.code != 429:
                raise Refused(problem)
        except (OSError, http.client.HTTPException) as error:
            problem = error
        if time.monotonic() >= until:
            raise Gone(f"{SERVER} can't be reached: {problem}")
        time.sleep(1)

def keep_alive(lease, done, stop):
    while not stop and not done.wait(5):
        try:  # insists until the lease is over
            reason = call("POST", f"{lease}/heartbeat", patience=LAPSE - 5)["stop"]
            stop.extend([reason] if reason else [])
        except Refused:
            stop.append("lease_lost")

def run(job, lease, stop):
    shouted = "\n".join(line.upper() for line in job["spec"]["text"].splitlines() if not stop)
    place = urllib.parse.urlencode({"prefix": "outputs", "name": "shouted.txt"})
    stored = call("PUT", f"{lease}/objects?{place}", shouted.encode(), "text/plain")
    artifact = {"kind": "txt", "filename": "shouted.txt", "content_type": "text/plain", "object": stored}
    return {"outcome": "done", "output": {"result": {"characters": len(shouted)}, "artifacts": [artifact]}}

while True:
    try:
        claim = {"workloads": ["shout"], "slots": 1, "wait_ms": 20000}
        leases = call("POST", "/claim", claim, patience=float("inf"))["leases"]
    except Refused as why:
        sys.exit(f"no work for this key: {why}")
    for job in leases:
        lease, done, stop = f"/leases/{job['job']}.{job['run']}", threading.Event(), []
        threading.Thread(target=keep_alive, args=(lease, done, stop), daemon=True).start()
        try:
            end = run(job, lease, stop)
            if not stop:
                call("POST", f"{lease}/complete", end)
            elif "lease_lost" not in stop:  # somebody cancelled it
                call("POST", f"{lease}/release")
        except Refused as why:
            print(f"{lease}: {why}", file=sys.stderr)  # the run is tried again once its lease is over
        finally:
            done.set()
