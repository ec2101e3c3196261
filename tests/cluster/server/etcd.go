package main

import (
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcdCommand is one etcd without fsync: what it holds is thrown away with the test run.
func etcdCommand() *cobra.Command {
	var folder, clients, peers string
	var unsafe bool
	command := &cobra.Command{
		Use:          "etcd",
		Short:        "one etcd, on loopback, without encryption",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			return runEtcd(folder, clients, peers, unsafe)
		},
	}
	command.Flags().StringVar(&folder, "data-dir", "", "folder of the data")
	command.Flags().StringVar(&clients, "listen-client-urls", "http://127.0.0.1:2379", "where clients connect")
	command.Flags().StringVar(&peers, "listen-peer-urls", "http://127.0.0.1:2380", "where peers would connect")
	command.Flags().BoolVar(&unsafe, "unsafe-no-fsync", false, "do not wait for the disk")
	_ = command.MarkFlagRequired("data-dir")
	return command
}

func runEtcd(folder, clients, peers string, unsafe bool) error {
	config := embed.NewConfig()
	config.Dir = folder
	config.UnsafeNoFsync = unsafe
	config.LogLevel = "warn"
	client, err := url.Parse(clients)
	if err != nil {
		return err
	}
	peer, err := url.Parse(peers)
	if err != nil {
		return err
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-stop:
		return nil
	case err := <-server.Err():
		return err
	}
}
