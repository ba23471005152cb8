// The load: so many sockets on one server, one publisher, every message counted, every 97th socket timed and checked.
// One thread reads all sockets by epoll; it prints one JSON object.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"time"
)

var (
	kind     = flag.String("kind", "raw", "eventhub, raw, centrifuge or socketio")
	addr     = flag.String("addr", "127.0.0.1:9001", "where the server listens")
	publish  = flag.String("publish", "", "address that takes messages by TCP, one a line")
	events   = flag.String("events", "", "file of messages, one JSON object a line; none: made up, 350 bytes each")
	sockets  = flag.Int("sockets", 1000, "how many")
	stuck    = flag.Int("stuck", 0, "how many more that read nothing at all")
	slow     = flag.Int("slow", 0, "how many more that read 8 KiB a second each")
	channels = flag.Int("channels", 1, "over how many channels they are spread")
	views    = flag.Int("views", 1, "over how many views of each channel")
	rate     = flag.Int("rate", 50, "messages a second on all channels together")
	seconds  = flag.Float64("seconds", 6, "how long messages are published")
	settle   = flag.Float64("settle", 1.5, "seconds between the last subscription and the first message")
	server   = flag.Int("server", 0, "process id of the server")
	token    = flag.String("token", "", "access token")
	poll     = flag.Duration("poll", 0, "look so often instead of blocking, so that the server pays for no wake-up")
	idle     = flag.Bool("idle", false, "publish nothing, and say what a socket costs in memory")
)

// Result is what is printed.
type Result struct {
	Published       int64   `json:"published"`
	Expected        int64   `json:"expected"`
	Delivered       int64   `json:"delivered"`
	Lost            int64   `json:"lost"`
	Gaps            int64   `json:"gaps"`
	Closed          int64   `json:"closed"`
	StuckFreed      int     `json:"stuck_freed"`
	SlowClosed      int     `json:"slow_closed"`
	ServerCPUs      float64 `json:"server_cpu_s"`
	UsPerDelivery   float64 `json:"us_per_delivery"`
	PerCoreSecond   float64 `json:"deliveries_per_core_s"`
	P50             float64 `json:"p50_ms"`
	P99             float64 `json:"p99_ms"`
	P999            float64 `json:"p999_ms"`
	PerFrame        float64 `json:"messages_per_frame"`
	ResidentMB      float64 `json:"resident_mb"`
	GrownMB         float64 `json:"grown_mb"`
	BytesPerSocket  float64 `json:"bytes_per_idle_socket"`
	PublisherBehind float64 `json:"publisher_behind_s"`
	LoadBusy        float64 `json:"load_busy"`
}

func main() {
	flag.Parse()
	runtime.GOMAXPROCS(2)
	runtime.LockOSThread()
	before := observe(*server)
	crowd := newCrowd()
	for i := 0; i < *sockets+*stuck+*slow; i++ {
		if err := crowd.add(i); err != nil {
			fmt.Fprintln(os.Stderr, "socket", i, err)
			os.Exit(1)
		}
	}
	crowd.readFor(time.Duration(*settle * float64(time.Second)))
	if *idle {
		crowd.readFor(2 * time.Second)
		after := observe(*server)
		print(Result{Closed: crowd.closed, ResidentMB: float64(after.resident) / 1e6,
			BytesPerSocket: float64(after.resident-before.resident) / float64(*sockets)})
		return
	}
	crowd.begin()
	print(measure(crowd))
}

func measure(crowd *crowd) Result {
	source := newSource()
	length := time.Duration(*seconds * float64(time.Second))
	before, busy, start := observe(*server), observe(os.Getpid()), time.Now()
	done := make(chan struct{})
	go source.run(start, length, done)
	over, last, quiet := false, int64(0), start
	for {
		crowd.read(5)
		now := time.Now()
		if !over {
			select {
			case <-done:
				over, quiet = true, now
			default:
			}
			continue
		}
		if crowd.total != last {
			last, quiet = crowd.total, now
		}
		if crowd.total >= source.expected(crowd) || now.Sub(quiet) > 1500*time.Millisecond {
			break
		}
	}
	after, expected := observe(*server), source.expected(crowd)
	cpu := after.cpu - before.cpu
	delivered := float64(crowd.total)
	sort.Slice(crowd.latencies, func(i, j int) bool { return crowd.latencies[i] < crowd.latencies[j] })
	return Result{
		Published: source.sent, Expected: expected, Delivered: crowd.total, Lost: expected - crowd.total,
		Gaps: crowd.gaps(), Closed: crowd.closed, StuckFreed: crowd.stuckFreed(), SlowClosed: crowd.slowClosed, ServerCPUs: cpu,
		UsPerDelivery: cpu / delivered * 1e6, PerCoreSecond: delivered / cpu,
		P50: crowd.quantile(0.5), P99: crowd.quantile(0.99), P999: crowd.quantile(0.999),
		PerFrame: delivered / float64(crowd.frames), ResidentMB: float64(after.resident) / 1e6,
		GrownMB:         float64(after.resident-before.resident) / 1e6,
		PublisherBehind: source.behind.Seconds(),
		LoadBusy:        (observe(os.Getpid()).cpu - busy.cpu) / time.Since(start).Seconds(),
	}
}

func print(result Result) {
	text, _ := json.Marshal(result)
	fmt.Println(string(text))
}
