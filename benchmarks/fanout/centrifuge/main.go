// The centrifuge library (the engine of Centrifugo) as a server: at its default, or with its write delay, its best.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

const queueBytes = 64 << 20 // so that a burst disconnects nobody

func main() {
	addr := flag.String("addr", "127.0.0.1:9002", "where to listen")
	publish := flag.String("publish", "127.0.0.1:9003", "where messages come from, one a line")
	delay := flag.Duration("write-delay", 0, "join what comes within it; 0 is the default")
	flag.Parse()
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: queueBytes})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		reply := centrifuge.ConnectReply{
			Credentials:    &centrifuge.Credentials{UserID: ""},
			PingPongConfig: &centrifuge.PingPongConfig{PingInterval: 300 * time.Second, PongTimeout: 8 * time.Second},
		}
		if *delay > 0 {
			reply.WriteDelay, reply.MaxMessagesInFrame, reply.WriteWithTimer = *delay, -1, true
		}
		return reply, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool: true, ReadBufferSize: 512,
	}))
	feed, err := net.Listen("tcp4", *publish)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		source, err := feed.Accept()
		if err != nil {
			log.Fatal(err)
		}
		for lines := bufio.NewScanner(source); lines.Scan(); {
			if _, err := node.Publish("bench", bytes.Clone(lines.Bytes())); err != nil {
				log.Fatal(err)
			}
		}
	}()
	fmt.Println("-")
	log.Fatal(http.ListenAndServe(*addr, nil))
}
