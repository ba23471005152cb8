package main

import (
	"fmt"
	"math/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	size     = 350 // bytes of a made-up message
	together = 64  // messages of one write
)

// source publishes messages at a rate, whatever the server does: it catches up after it was held up.
type source struct {
	bodies []string // what follows the number and the time in each message
	sent   int64
	behind time.Duration
}

func newSource() *source {
	made := &source{}
	if *events != "" {
		text, err := os.ReadFile(*events)
		if err != nil {
			panic(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			made.bodies = append(made.bodies, line[1:])
		}
		return made
	}
	random := rand.New(rand.NewSource(1))
	for i := 0; i < 500; i++ {
		var pad strings.Builder
		for pad.Len() < size-120 {
			fmt.Fprintf(&pad, "%d.%03d,", random.Intn(120), random.Intn(1000))
		}
		made.bodies = append(made.bodies, `"match_id":"m1","type":"pass","lane":"normal","x":"`+pad.String()[:size-120]+`"}`)
	}
	return made
}

// message is the n-th one; its number and the time stand first, where the reader looks for them.
func (s *source) message(n int64) string {
	return `{"n":` + strconv.FormatInt(n, 10) + `,"t":` + strconv.FormatInt(time.Now().UnixMicro(), 10) + "," + s.bodies[n%int64(len(s.bodies))]
}

// expected is how many deliveries everything that was sent makes: each message goes to one channel in turn.
func (s *source) expected(c *crowd) int64 {
	sent := atomic.LoadInt64(&s.sent)
	var all int64
	for channel, readers := range c.readers {
		of := sent / int64(*channels)
		if int64(channel) < sent%int64(*channels) {
			of++
		}
		all += of * readers
	}
	return all
}

func (s *source) run(start time.Time, length time.Duration, done chan struct{}) {
	defer close(done)
	feed, err := net.Dial("tcp4", *publish)
	if err != nil {
		panic(err)
	}
	defer feed.Close()
	interval := time.Duration(float64(time.Second) / float64(*rate))
	for n := int64(0); time.Since(start) < length; {
		due := int64(time.Since(start)/interval) + 1 - n
		if due <= 0 {
			time.Sleep(time.Until(start.Add(time.Duration(n) * interval)))
			continue
		}
		if late := time.Duration(due) * interval; late > s.behind {
			s.behind = late
		}
		var lines []byte
		for i := int64(0); i < min(due, together); i++ {
			lines = append(append(lines, s.message(n)...), '\n')
			n++
		}
		if _, err := feed.Write(lines); err != nil {
			fmt.Fprintln(os.Stderr, "not published:", err)
			os.Exit(1)
		}
		atomic.StoreInt64(&s.sent, n)
	}
}
